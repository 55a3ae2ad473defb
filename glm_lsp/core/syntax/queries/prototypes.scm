; Of C alone; what declares a function of C++ is read elsewhere.
((declaration declarator: [(function_declarator declarator: (identifier) @name) (pointer_declarator declarator: (function_declarator declarator: (identifier) @name))]) @node (#set! is prototype))
