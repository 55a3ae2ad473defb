; JavaScript and TypeScript. Functions and classes at any depth, variables of the module only.
((function_declaration name: (identifier) @name body: (_) @body) @node (#set! is function))
((generator_function_declaration name: (identifier) @name body: (_) @body) @node (#set! is function))
((method_definition name: (_) @name body: (_) @body) @node (#set! is method))
((lexical_declaration (variable_declarator name: (identifier) @name value: (arrow_function body: (_) @body)) @node) @outer (#set! is function))
((lexical_declaration (variable_declarator name: (identifier) @name value: (function_expression body: (_) @body)) @node) @outer (#set! is function))
((variable_declaration (variable_declarator name: (identifier) @name value: (arrow_function body: (_) @body)) @node) @outer (#set! is function))
((variable_declaration (variable_declarator name: (identifier) @name value: (function_expression body: (_) @body)) @node) @outer (#set! is function))
((variable_declarator name: (identifier) @name value: (class body: (_) @body)) @node (#set! is class))

((program (lexical_declaration (variable_declarator name: (identifier) @name value: (_)? @value) @node) @outer) (#set! is variable) (#set! shallow))
((program (variable_declaration (variable_declarator name: (identifier) @name value: (_)? @value) @node) @outer) (#set! is variable) (#set! shallow))
((program (export_statement declaration: (lexical_declaration (variable_declarator name: (identifier) @name value: (_)? @value) @node) @outer)) (#set! is variable) (#set! shallow))
((program (export_statement declaration: (variable_declaration (variable_declarator name: (identifier) @name value: (_)? @value) @node) @outer)) (#set! is variable) (#set! shallow))

; What has no name but `default`.
((export_statement "default" @name value: (function_expression body: (_) @body)) @node (#set! is function) (#set! shallow))
((export_statement "default" @name value: (arrow_function body: (_) @body)) @node (#set! is function) (#set! shallow))
((export_statement "default" @name value: (class body: (_) @body)) @node (#set! is class) (#set! shallow))
((export_statement "default" @name value: (object) @value) @node (#set! is variable) (#set! shallow))

; Functions that are put into an object, or into what a module exports.
((program (expression_statement (assignment_expression
   left: (member_expression object: [(identifier) (member_expression)] @of property: (property_identifier) @name)
   right: (function_expression body: (_) @body)) @node)) (#set! is method) (#set! shallow))
((program (expression_statement (assignment_expression
   left: (member_expression object: [(identifier) (member_expression)] @of property: (property_identifier) @name)
   right: (arrow_function body: (_) @body)) @node)) (#set! is method) (#set! shallow))

((import_statement (import_clause (identifier) @alias) source: (string) @module) @node (#set! is import) (#set! name default) (#set! shallow))
((import_statement (import_clause (namespace_import (identifier) @alias)) source: (string) @module) @node (#set! is import) (#set! shallow))
((import_statement (import_clause (named_imports (import_specifier name: (_) @name alias: (_)? @alias))) source: (string) @module) @node (#set! is import) (#set! shallow))
((import_statement "import" . source: (string) @module) @node (#set! is import) (#set! shallow))

((variable_declarator name: (identifier) @alias value: (call_expression function: (identifier) @call arguments: (arguments . (string) @module))) @node (#set! is import) (#set! call require) (#set! shallow))
((variable_declarator name: (object_pattern (shorthand_property_identifier_pattern) @name) value: (call_expression function: (identifier) @call arguments: (arguments . (string) @module))) @node (#set! is import) (#set! call require) (#set! shallow))
((variable_declarator name: (object_pattern (pair_pattern key: (_) @name value: (identifier) @alias)) value: (call_expression function: (identifier) @call arguments: (arguments . (string) @module))) @node (#set! is import) (#set! call require) (#set! shallow))
((variable_declarator name: (identifier) @alias value: (member_expression object: (call_expression function: (identifier) @call arguments: (arguments . (string) @module)) property: (_) @name)) @node (#set! is import) (#set! call require) (#set! shallow))
((expression_statement (call_expression function: (identifier) @call arguments: (arguments . (string) @module))) @node (#set! is import) (#set! call require) (#set! shallow))
((call_expression function: (import) arguments: (arguments . (string) @module)) @node (#set! is import))

((export_statement (export_clause (export_specifier name: (_) @local alias: (_) @name)) source: (string) @module) @node (#set! is export) (#set! shallow))
((export_statement (export_clause (export_specifier name: (_) @local @name !alias)) source: (string) @module) @node (#set! is export) (#set! shallow))
((export_statement (export_clause (export_specifier name: (_) @local alias: (_) @name)) !source) @node (#set! is export) (#set! shallow))
((export_statement (export_clause (export_specifier name: (_) @local @name !alias)) !source) @node (#set! is export) (#set! shallow))
((export_statement (namespace_export (_) @name) source: (string) @module) @node (#set! is export) (#set! shallow))
((export_statement "*" . "from" . source: (string) @module) @node (#set! is export) (#set! name "*") (#set! local "*") (#set! shallow))
((export_statement "default" value: (identifier) @local) @node (#set! is export) (#set! name default) (#set! shallow))
((export_statement "default" value: (call_expression arguments: (arguments . (identifier) @local))) @node (#set! is export) (#set! name default) (#set! shallow))

((assignment_expression left: (member_expression object: (identifier) @call property: (property_identifier) @exports) right: (identifier) @local) @node (#set! is commonjs) (#set! call "module exports") (#set! name "=") (#set! shallow))
((assignment_expression left: (member_expression object: (identifier) @call property: (property_identifier) @exports) right: (object (shorthand_property_identifier) @local @name)) @node (#set! is commonjs) (#set! call "module") (#set! shallow))
((assignment_expression left: (member_expression object: (identifier) @call property: (property_identifier) @exports) right: (object (pair key: (property_identifier) @name value: (identifier) @local))) @node (#set! is commonjs) (#set! call "module") (#set! shallow))
((assignment_expression left: (member_expression object: (member_expression object: (identifier) @call) property: (property_identifier) @name) right: (identifier) @local) @node (#set! is export) (#set! call "module") (#set! shallow))
((assignment_expression left: (member_expression object: (identifier) @call property: (property_identifier) @exports) right: (call_expression function: (identifier) @require arguments: (arguments . (string) @module))) @node (#set! is commonjs) (#set! call "module") (#set! name "*") (#set! local "*") (#set! shallow))
