"""What strings, comments, names and local variables look like in a language: enough to list uses of names.

Regular expressions over bytes, each linear in the text: what has no end is taken to the end of the file or
its line, repetitions that could be tried again and again are bounded or possessive.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

_HIGH = r"\x80-\xff"
IDENT = rf"[A-Za-z_${_HIGH}][\w${_HIGH}]*+"
_LINE = r"/[^\n]*+"
_BLOCK = r"\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/)?"
_QUOTED = r'(?<=")[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?'
_SINGLE = r"(?<=')[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'?"
_CHARACTER = r"(?<=')(?:\\[^\n]{1,12}?|[^'\\\n]{1,4})'"
_REGEX = (
    r"(?:(?<=[(,=:\[!&|?{};\n]/)|(?<=[(,=:\[!&|?{};] /)|(?<=return /))"
    r"(?![*/ ])(?:[^/\\\[\n]|\\.|\[[^\]\n]{0,300}+\]){1,2000}+/[a-z]*"
)
_TEMPLATE = r"(?<=`)(?:[^`\\$]++|\\.|\$(?!\{)|\$\{[^{}`]*+(?:[{`][^{}`]*+[}`][^{}`]*+)*+\}|\$)*+`?"


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One family of languages."""

    inert: re.Pattern[bytes]
    """Strings and comments. Each begins with one character of a set, which makes it fast; what follows looks
    back at it."""
    keywords: frozenset[bytes]
    follow: str = ""
    """What may stand after a name and tell that, without dots, it is no use: a key, a label, a target."""
    after: re.Pattern[bytes] | None = None
    """The sign of it that spaces may stand before, with such a space: `joined` moves it to the name."""
    spaced: tuple[tuple[bytes, bytes], ...] = ()
    """How that looks most often, and what it becomes."""
    binding: tuple[bytes, ...] = ()
    """How it ends where a function binds the name."""
    dots: tuple[bytes, ...] = ()
    """What joins names besides the dot; two bytes each."""
    params: re.Pattern[bytes] | None = None
    """The names that a parameter list binds."""
    names: tuple[tuple[bytes, re.Pattern[bytes]], ...] = ()
    """In a body: text whose names are bound. Each begins with something that is found fast: these letters,
    if any."""
    lists: tuple[re.Pattern[bytes], ...] = ()
    """In a body: parameter lists."""
    also: re.Pattern[bytes] | None = None
    """Uses that `no_use` would leave out."""
    receivers: frozenset[bytes] = frozenset()
    """Keywords that stand for an object."""
    code_in: re.Pattern[bytes] | None = None
    """Code inside of strings in backticks."""

    @property
    def split(self) -> Callable[[bytes], list[bytes]]:
        """Parts a text: code, then a string or comment and what the groups of `inert` hold, and so on."""
        return _split(self.inert.pattern)

    @property
    def ends(self) -> frozenset[str]:
        """What matches `follow`."""
        return _ends(self.follow)

    @property
    def tokens(self) -> re.Pattern[bytes]:
        """Dotted names and numbers, each with what follows it. The set in front makes it fast; one group less
        than needed makes no tuples."""
        return _tokens(self.follow)

    @property
    def spaces(self) -> bytes:
        """For `bytes.translate`: makes spaces of what cannot be part of a token."""
        return _spaces(self.follow)

    def joined(self, text: bytes) -> bytes:
        """The text, as long as before, without spaces between a name and what `follow` looks for."""
        if self.after is None:
            return text
        for spaced, joined in self.spaced:
            text = text.replace(spaced, joined)
        left = [found.span() for found in self.after.finditer(text)]
        if not left:
            return text
        kept = bytearray(text)
        for start, end in left:
            to = start
            while to and kept[to - 1] in b" \t":
                to -= 1
            kept[to:end] = kept[start:end] + kept[to:start]
        return bytes(kept)


SIGNS = ":=>?\"'"
"""All that `follow` is made of."""
JOINT = b"\1\1"
"""Stands for what joins names besides the dot."""


@cache
def _split(inert: bytes) -> Callable[[bytes], list[bytes]]:
    return re.compile(b"(" + inert + b")", re.DOTALL | re.MULTILINE).split


@cache
def _spaces(follow: str) -> bytes:
    kept = re.compile(rf"[\w$#.\x01{_HIGH}]".encode("latin-1"))
    signs = {ord(sign) for sign in SIGNS if sign in re.sub(r"\(\?[:!=]", "", follow)}
    return bytes(i if i in signs or kept.match(bytes([i])) else 0x20 for i in range(256))


@cache
def _ends(follow: str) -> frozenset[str]:
    some = (*SIGNS, *(a + b for a in SIGNS for b in SIGNS))
    return frozenset(s for s in some if _tokens(follow).fullmatch(b"a" + s.encode()))


@cache
def _tokens(follow: str) -> re.Pattern[bytes]:
    return _compiled(rf"[\w$#.\x01{_HIGH}]++(?:{follow})?")


def _words(text: str) -> frozenset[bytes]:
    return frozenset(word.encode() for word in text.split())


def _compiled(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode("latin-1"), re.DOTALL | re.MULTILINE)


_FIRST = re.compile(r"[A-Za-z]+(?![?*{])")


def _each(*patterns: str) -> tuple[re.Pattern[bytes], ...]:
    return tuple(_compiled(pattern) for pattern in patterns)


def _begun(*patterns: str) -> tuple[tuple[bytes, re.Pattern[bytes]], ...]:
    """Patterns, each with the letters that all it finds begins with; it must have no alternatives outside of
    brackets."""
    heads = (_FIRST.match(pattern) for pattern in patterns)
    return tuple(
        (head[0].encode() if head else b"", _compiled(pattern))
        for head, pattern in zip(heads, patterns, strict=True)
    )


_DECLARED = rf"\s+({IDENT}|[{{\[][^}}\]=]{{0,400}})"
_SCRIPT = Lexicon(
    inert=_compiled(
        rf"""["'`/](?:{_QUOTED}|(?<!\w'){_SINGLE}|(?<=/)(?:{_LINE}|{_BLOCK}|{_REGEX})|{_TEMPLATE})"""
    ),
    keywords=_words(
        "abstract any as asserts async await boolean break case catch class const constructor "
        "continue debugger declare default delete do else enum export extends false finally for "
        "from function get if implements import in infer instanceof interface is keyof let "
        "namespace never new null number object of override package private protected public "
        "readonly return satisfies set static string super switch symbol this throw true try "
        "type typeof undefined unique unknown var void while with yield bigint require module "
        "exports arguments"
    ),
    follow=r"\??:(?!:)|[ \t]*+=(?!=)>?",
    after=_compiled(r"=(?<=[ \t]=)(?!=)>?"),
    spaced=((b" = ", b"=  "), (b" => ", b"=>  "), (b" =\n", b"= \n")),
    binding=(b"=>",),
    dots=(b"?.", b"!."),
    params=_compiled(
        r"[(,{\[]\s*+(?:\.\.\.)?(?:(?:public|private|protected|readonly|override)\s+){0,3}"
        rf"({IDENT})\s*+(?=[?!]?\s*+[:,)=\]}}])"
    ),
    names=_begun(rf"const{_DECLARED}", rf"let{_DECLARED}", rf"var{_DECLARED}", rf"catch\s*\(\s*({IDENT})"),
    lists=_each(r"\(([^()]{0,400})\)\s{0,40}(?::[^=(){};]{0,200})?=>"),
    also=_compiled(r"case\s+([\w$]+)(?=:)"),
    receivers=_words("this super"),
    code_in=_compiled(r"\$\{([^{}]{1,500})\}"),
)

_LIST = rf"({IDENT}(?:,\s*{IDENT}){{1,20}})"
_GO = Lexicon(
    inert=_compiled(rf"""["'`/](?:{_QUOTED}|{_CHARACTER}|(?<=/)(?:{_LINE}|{_BLOCK})|(?<=`)[^`]*+`?)"""),
    keywords=_words(
        "break case chan const continue default defer else fallthrough for func go goto if "
        "import interface map package range return select struct switch type var nil true false "
        "iota string int int8 int16 int32 int64 uint uint8 uint16 uint32 uint64 uintptr byte "
        "rune bool float32 float64 complex64 complex128 error any _"
    ),
    follow=r":(?!=)|[ \t]*+:=",
    after=_compiled(r":=(?<=[ \t]:=)"),
    spaced=((b" := ", b":=  "),),
    binding=(b":=",),
    params=_compiled(rf"[(,]\s*+({IDENT}(?:\s*,\s*{IDENT}){{0,20}})\s+(?=[*\[\]\w.(<])"),
    names=_begun(
        rf"\n[ \t]*+(?:if |for |switch |case )?{_LIST}\s*:=", rf"var\s+({IDENT}(?:,\s*{IDENT}){{0,20}})"
    ),
    lists=_each(r"func\s*(\([^()]{0,400}\))"),
    also=_compiled(r"case\s+([\w.]+)(?=:)"),
)

_RUST = Lexicon(
    inert=_compiled(
        r"""["'/](?:(?<=r")[^"]*+"?|(?<=r\#")(?:[^"]++|"(?!\#))*+(?:"\#)?|"""
        r'(?<=r\#\#")(?:[^"]++|"(?!\#\#))*+(?:"\#\#)?|(?<=")[^"\\]*+(?:\\.[^"\\]*+)*+"?|'
        rf"{_CHARACTER}|(?<=')\w++|(?<=/)(?:{_LINE}|{_BLOCK}))"
    ),
    keywords=_words(
        "as async await break const continue crate dyn else enum extern false fn for if impl in "
        "let loop match mod move mut pub ref return self Self static struct super trait true "
        "type union unsafe use where while i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize "
        "f32 f64 bool char str _"
),
    follow=r":|\"|'",
    dots=(b"::",),
    params=_compiled(rf"[(,|]\s*+(?:&\s*)?(?:mut\s+)?({IDENT})\s*+(?=:|[,|])"),
    names=_begun(
        r"let\s+(?:mut\s+)?([a-z_]\w*)", r"let\s+\w*\(([a-z_][\w, ]{0,200})\)", r"for\s+([a-z_]\w*)",
        r"for\s+\(([a-z_][\w, ]{0,200})\)", r"Some\(([a-z_]\w*)\)",
        r"Ok\(([a-z_]\w*)\)", r"Err\(([a-z_]\w*)\)",
    ),
    lists=_each(r"(\|[^|\n]{0,200}\|)"),
    receivers=_words("self Self super crate"),
)  # fmt: skip

_NO_TYPE = r"(?!return\b|throw\b|new\b|else\b|case\b|goto\b|import\b|package\b|using\b|typedef\b|delete\b)"
_MODIFIERS = r"(?:(?:final|const|static|unsigned|signed|struct|volatile|register|auto)\s+){0,4}"
_JAVA_TYPE = rf"{_NO_TYPE}{_MODIFIERS}[A-Za-z_][\w.<>\[\]?]{{0,100}}(?:, ?[\w.<>\[\]?]{{1,100}})?\s+"
_JAVA = Lexicon(
    inert=_compiled(
        r"""["'/](?:(?<=")""(?:[^"\\]++|\\.|"(?!""))*+(?:"{3}|\Z)|"""
        rf"{_QUOTED}|{_SINGLE}|(?<=/)(?:{_LINE}|{_BLOCK}))"
    ),
    keywords=_words(
        "abstract assert boolean break byte case catch char class const continue default do "
        "double else enum extends final finally float for goto if implements import instanceof "
        "int interface long native new package private protected public return short static "
        "strictfp super switch synchronized this throw throws transient try void volatile while "
        "var record sealed permits yield true false null override bool string object namespace "
        "using get set virtual async await foreach in out ref readonly internal func let def val "
        "trait guard self"
    ),
    dots=(b"::",),
    params=_compiled(rf"[\w>\])]\s+({IDENT})\s*+(?=[,)])"),
    names=_begun(
        rf"\n[ \t]*+{_JAVA_TYPE}({IDENT})\s*+(?=[=;:])", rf"\([ \t]*+{_JAVA_TYPE}({IDENT})\s*+(?=[=;:)])"
    ),
    lists=_each(r"(\([\w, ]{0,200}\))\s*->"),
    receivers=_words("this super self"),
)

_C_TYPE = rf"{_NO_TYPE}{_MODIFIERS}[A-Za-z_][\w:<>\x01]{{0,100}}[\s*&]{{1,10}}"
_C = Lexicon(
    inert=_compiled(
        r"""["'/](?:(?<=R")(?P<mark>[^()\\ \n]{0,16})\(.*?(?:\)(?P=mark)"|\Z)|"""
        rf"{_QUOTED}|{_CHARACTER}|(?<=/)(?:{_LINE}|{_BLOCK}))"
    ),
    keywords=_words(
        "auto bool break case catch char class const const_cast constexpr continue decltype "
        "default define defined delete do double dynamic_cast else endif elif enum error "
        "explicit export extern false final float for friend goto if ifdef ifndef include inline "
        "int long mutable namespace new noexcept nullptr NULL operator override pragma private "
        "protected public register reinterpret_cast restrict return short signed sizeof static "
        "static_assert static_cast struct switch template this throw true try typedef typeid "
        "typename undef union unsigned using virtual void volatile wchar_t while size_t ssize_t "
        "int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t uintptr_t intptr_t "
        "ptrdiff_t once #define #if #ifdef #ifndef #else #elif #endif #include #undef #pragma "
        "#error # ##"
    ),
    follow=r"\"|'",
    dots=(b"->", b"::"),
    params=_compiled(rf"[\w>*&\])]\s*+[\s*&]({IDENT})\s*+(?=[,)=\[])"),
    names=_begun(
        rf"\n[ \t]*+{_C_TYPE}({IDENT})\s*+(?=[=;,\[])", rf"\([ \t]*+{_C_TYPE}({IDENT})\s*+(?=[=;:)])"
    ),
    receivers=_words("this"),
)

_HASH = Lexicon(
    inert=_compiled(rf"""["'#](?:(?<=\s\#)[^\n]*+|{_QUOTED}|{_SINGLE})"""),
    keywords=_words(
        "if then else elsif elif fi do done for in while until case esac end def class module "
        "return local export echo and or not nil true false self begin rescue ensure require set "
        "function"
    ),
    dots=(b"::",),
    receivers=_words("self"),
)

_PLAIN = Lexicon(
    inert=_compiled(rf"""["'/\-](?:(?<=/)(?:{_LINE}|{_BLOCK})|(?<=--)[^\n]*+|{_QUOTED}|{_SINGLE})"""),
    keywords=_words(
        "if then else end for in do while return function local let var const true false nil null"
    ),
    dots=(b"::", b"->"),
)

LEXICONS = {
    "script": _SCRIPT,
    "go": _GO,
    "rust": _RUST,
    "java": _JAVA,
    "c": _C,
    "hash": _HASH,
    "": _PLAIN,
}
