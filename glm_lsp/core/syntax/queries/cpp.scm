((class_specifier name: (type_identifier) @name body: (_) @body) @node (#set! is class))
((class_specifier name: (template_type name: (type_identifier) @name) body: (_) @body) @node (#set! is class))
((template_declaration) @outer (#set! is outer) (#set! unfold template))
((alias_declaration name: (type_identifier) @name type: (_) @value) @node (#set! is type))
((namespace_definition name: (_) @name @end @last) @node (#set! is module))

((field_declaration) @node (#set! is prototype) (#set! unfold prototype))
((declaration declarator: [(function_declarator) (pointer_declarator) (reference_declarator) (operator_cast)] @declarator) @node (#set! is prototype) (#set! unfold declared))
