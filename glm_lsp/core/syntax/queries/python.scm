; Definitions. `end` is where the signature ends; `outer` holds the decorators too.
((class_definition name: (identifier) @name ":" @end body: (block) @body) @node (#set! is class))
((function_definition name: (identifier) @name ":" @end body: (block) @body) @node (#set! is function))
((decorated_definition definition: (class_definition name: (identifier) @name)) @outer (#set! is outer))
((decorated_definition definition: (function_definition name: (identifier) @name)) @outer (#set! is outer))

; The string that documents a class, a function or the module.
((class_definition name: (identifier) @name body: (block . (expression_statement . (string) @text .))) (#set! is text))
((class_definition name: (identifier) @name body: (block . (string) @text)) (#set! is text))
((function_definition name: (identifier) @name body: (block . (expression_statement . (string) @text .))) (#set! is text))
((module . (comment)* . (expression_statement . (string) @text .)) (#set! is module-text))

; Variables of the module, under `if` and `try` too.
((module (expression_statement (assignment left: (identifier) @name right: (_)? @value)) @node) (#set! is variable))
((module (type_alias_statement left: (type (identifier) @name)) @node) (#set! is variable))
((module (type_alias_statement left: (type (generic_type (identifier) @name))) @node) (#set! is variable))
