; C, and what C++ has in common with it. A name may stand below a pointer or two.
((function_definition) @node (#set! is function) (#set! unfold function))

((struct_specifier name: (type_identifier) @name body: (_) @body) @node (#set! is class))
((union_specifier name: (type_identifier) @name body: (_) @body) @node (#set! is class))
((enum_specifier name: (type_identifier) @name body: (_) @body) @node (#set! is enum))
((type_definition) @node (#set! is other-type) (#set! unfold typedef))
((preproc_function_def name: (identifier) @name value: (_)? @body) @node (#set! is function))
((preproc_def name: (identifier) @name value: (_) @value) @node (#set! is variable))
((translation_unit (declaration) @node) (#set! is variable) (#set! unfold variables) (#set! shallow))
((preproc_ifdef (declaration) @node) (#set! is variable) (#set! unfold variables) (#set! shallow))
((declaration_list (declaration) @node) (#set! is variable) (#set! unfold variables) (#set! shallow))

((preproc_include path: (string_literal) @module) @node (#set! is import) (#set! name "*") (#set! shallow))
((preproc_include path: (system_lib_string) @module) @node (#set! is import) (#set! name "*") (#set! shallow))
