; What the JavaScript grammar names in its own way.
((class_declaration name: (identifier) @name body: (class_body) @body) @node (#set! is class))
((class_body (field_definition property: (_) @name value: (_)? @value) @node) (#set! is variable))
((class_body (field_definition property: (_) @name value: (arrow_function body: (_) @body)) @node) (#set! is method))
