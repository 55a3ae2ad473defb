"""Words of a language: its keywords, and names that a file may use without a word of where they come from."""

from __future__ import annotations

import builtins
import keyword
from functools import cache

from glm_lsp.core.syntax.languages import row
from glm_lsp.core.syntax.lexicon import LEXICONS

_ECMASCRIPT = """
Array ArrayBuffer BigInt Boolean Buffer DataView Date Error Function Infinity Intl JSON Map Math NaN Number
Object Promise Proxy RangeError ReferenceError Reflect RegExp Set String Symbol SyntaxError TypeError URL
Uint8Array WeakMap WeakSet afterAll afterEach any arguments as beforeAll beforeEach boolean clearInterval
clearTimeout console describe document exports expect fetch globalThis infer it keyof module never number
object of process readonly require satisfies setInterval setTimeout string structuredClone symbol test
undefined unknown window Awaited Exclude Extract NonNullable Omit Parameters Partial Pick Readonly Record
Required ReturnType
"""
_GO = """
any append bool byte cap close comparable complex128 complex64 copy delete error false float32 float64 imag
int int16 int32 int64 int8 iota len make max min new nil panic print println real recover rune string true
uint uint16 uint32 uint64 uint8 uintptr
"""
_RUST = """
Box Clone Copy Debug Default Drop Eq Err Fn FnMut FnOnce From Hash Into Iterator None Ok Option Ord
PartialEq PartialOrd Result Send Some String Sync Vec assert assert_eq assert_ne bool cfg char debug_assert
derive dbg f32 f64 false format i128 i16 i32 i64 i8 isize matches panic print println str todo true u128 u16
u32 u64 u8 unimplemented unreachable usize vec write writeln
"""
_JAVA = """
Boolean Character Class Deprecated Double Exception Float FunctionalInterface IllegalArgumentException
IllegalStateException Integer Iterable Long Math NullPointerException Object Override Runnable
RuntimeException String StringBuilder SuppressWarnings System Thread Throwable UnsupportedOperationException
"""
_C = """
EOF FILE NULL abort assert bool calloc char16_t char32_t exit fprintf free int16_t int32_t int64_t int8_t
malloc memcpy memset nullptr printf ptrdiff_t realloc size_t snprintf ssize_t std strcmp strlen uint16_t
uint32_t uint64_t uint8_t uintptr_t
"""
_BY_LEXICON = {
    "script": frozenset(_ECMASCRIPT.split()),
    "go": frozenset(_GO.split()),
    "rust": frozenset(_RUST.split()),
    "java": frozenset(_JAVA.split()),
    "c": frozenset(_C.split()),
}


def family(language: str) -> str:
    """What languages have in common that are written alike; empty where nothing is known of one."""
    return language if language == "python" else row(language).lexicon


@cache
def keywords(of: str) -> frozenset[str]:
    """Of a family."""
    if of == "python":
        return frozenset(keyword.kwlist)
    return frozenset(word.decode() for word in LEXICONS[of].keywords)


@cache
def predeclared(of: str) -> frozenset[str]:
    """Names of a family that need no import."""
    return frozenset(dir(builtins)) | {"cls", "self"} if of == "python" else _BY_LEXICON.get(of, frozenset())
