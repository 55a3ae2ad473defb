; JavaScript and TypeScript. Functions and classes at any depth, variables of the module only.
((function_declaration) @node (#set! is function) (#set! unfold fields) (#set! take "name body"))
((generator_function_declaration) @node (#set! is function) (#set! unfold fields) (#set! take "name body"))
((method_definition) @node (#set! is method) (#set! unfold fields) (#set! take "name body"))
((lexical_declaration (variable_declarator name: (identifier) @name value: [(arrow_function body: (_) @body) (function_expression body: (_) @body)]) @node) @outer (#set! is function))
((variable_declaration (variable_declarator name: (identifier) @name value: [(arrow_function body: (_) @body) (function_expression body: (_) @body)]) @node) @outer (#set! is function))
((variable_declarator name: (identifier) @name value: (class body: (_) @body)) @node (#set! is class))

((program [(lexical_declaration) (variable_declaration)] @outer) (#set! is variable) (#set! unfold declarators) (#set! shallow))
((program (export_statement declaration: [(lexical_declaration) (variable_declaration)] @outer)) (#set! is variable) (#set! unfold declarators) (#set! shallow))

; What has no name but `default`.
((export_statement "default" @name) @node (#set! is export) (#set! unfold default) (#set! shallow))

((import_statement (import_clause (identifier) @alias) source: (string) @module) @node (#set! is import) (#set! name default) (#set! shallow))
((import_statement (import_clause (namespace_import (identifier) @alias)) source: (string) @module) @node (#set! is import) (#set! shallow))
((import_statement (import_clause (named_imports) @names) source: (string) @module) @node (#set! is import) (#set! unfold specifiers) (#set! shallow))
((import_statement "import" . source: (string) @module) @node (#set! is import) (#set! shallow))

((variable_declarator) @node (#set! is import) (#set! unfold required) (#set! needs require) (#set! shallow))
((expression_statement) @node (#set! is import) (#set! unfold called) (#set! needs require) (#set! shallow))
((call_expression function: (import) arguments: (arguments . (string) @module)) @node (#set! is import))

((export_statement (export_clause) @names source: (string) @module) @node (#set! is export) (#set! unfold specifiers) (#set! shallow))
((export_statement (export_clause) @names !source) @node (#set! is export) (#set! unfold specifiers) (#set! shallow))
((export_statement (namespace_export (_) @name) source: (string) @module) @node (#set! is export) (#set! shallow))
((export_statement "*" . "from" . source: (string) @module) @node (#set! is export) (#set! name "*") (#set! local "*") (#set! shallow))

; Functions that are put into an object, or into what a module exports; what `exports` become.
((program (expression_statement (assignment_expression) @node)) (#set! is method) (#set! unfold put) (#set! shallow))
((assignment_expression) @node (#set! is export) (#set! unfold commonjs) (#set! needs exports) (#set! shallow))
