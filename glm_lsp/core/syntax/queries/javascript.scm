; What the JavaScript grammar names in its own way.
((class_declaration name: (identifier) @name body: (class_body) @body) @node (#set! is class))
((class_body (field_definition) @node) (#set! is variable) (#set! unfold member))
