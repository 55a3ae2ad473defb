; What TypeScript has beyond JavaScript.
((class_declaration name: (type_identifier) @name body: (class_body) @body) @node (#set! is class))
((abstract_class_declaration name: (type_identifier) @name body: (class_body) @body) @node (#set! is class))
((interface_declaration name: (type_identifier) @name body: (_) @body) @node (#set! is interface))
((enum_declaration name: (identifier) @name body: (enum_body) @body) @node (#set! is enum))
((type_alias_declaration name: (type_identifier) @name value: (_) @value) @node (#set! is type))
((internal_module name: (_) @name body: (statement_block) @body) @node (#set! is module) (#set! unfold namespace))
((module name: (identifier) @name body: (statement_block) @body) @node (#set! is module) (#set! unfold namespace))

((function_signature name: (identifier) @name) @node (#set! is function))
((class_body (abstract_method_signature name: (_) @name) @node) (#set! is method))
((class_body (method_signature name: (_) @name) @node) (#set! is method))
((interface_body (method_signature name: (_) @name) @node) (#set! is method))
((interface_body (property_signature name: (property_identifier) @name) @node) (#set! is variable))
((public_field_definition) @node (#set! is variable) (#set! unfold member))
((program (ambient_declaration (_ (variable_declarator name: (identifier) @name) @node) @outer)) (#set! is variable) (#set! shallow))

((import_statement (import_require_clause (identifier) @alias source: (string) @module)) @node (#set! is import) (#set! shallow))
((export_statement "=" (identifier) @local) @node (#set! is export) (#set! name "=") (#set! shallow))
