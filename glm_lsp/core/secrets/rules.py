"""The rules as data: shapes of secrets, and the words by which a text is searched for all of them at once.

`shapes.json` comes from a well-kept detector, `own.toml` and `tokens.toml` are ours. Nothing here knows
how to verify a finding.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from ahocorasick_rs import BytesAhoCorasick, Implementation

from glm_lsp.core.secrets.escapes import ESCAPE
from glm_lsp.core.secrets.heads import derived

ENGINE_VERSION = 14
"""Raise it where the code beside these rules finds something else in the same text."""
FILES = ("own.toml", "tokens.toml", "shapes.json")
BLOCK = b"-----begin "
STATEMENTS = (b"insert into ", b") from stdin")
MANIFESTS = (b"kind: secret", b'kind: "secret', b'kind": "secret', b'kind":"secret')
FAR_BYTES = 2_000
ASSIGNMENTS = (
    *(
        b"passw",
        b"passphrase",
        b"pwd",
        b"secret",
        b"token",
        b"credential",
        b"apikey",
        b"api_key",
        b"api-key",
        b"api key",
    ),
    *(b"accesskey", b"access_key", b"access-key", b"authkey", b"auth_key", b"auth-key", b"privatekey"),
    *(
        b"pass:",
        b"pass =",
        b"pass=",
        b'pass"',
        b"pass'",
        b'pass "',
        b"pass '",
        b"_pass ",
        b"_pass\t",
        b"pw:",
        b"pw =",
        b"pw=",
        b'pw"',
        b"pw'",
    ),
    *(b"private_key", b"private-key", b"signingkey", b"signing_key", b"signing-key", b"encryptionkey"),
    *(
        b"encryption_key",
        b"encryption-key",
        b"masterkey",
        b"master_key",
        b"master-key",
        b"session_key",
        b"encrypt.key",
        b"encryption.key",
    ),
)
"""What the name of a value that must not be seen holds, in lower case."""


@dataclass(slots=True)
class Rule:
    """One shape. The meaning of the fields stands in `shapes.json` and `own.toml`."""

    id: str
    what: str
    words: tuple[str, ...]
    source: str
    group: int = 0
    before: int = 0
    after: int = 0
    assigned: bool = False
    password: bool = False
    unfinished: str = ""
    """A pattern for what is still being typed: the head, and the part that is held back."""
    gate: str = ""
    """A pattern for what must follow the word: a quick one, for words that stand everywhere."""
    own: bool = False
    gated: re.Pattern[bytes] | None = field(default=None, init=False, repr=False)
    is_prefix: bool = field(default=False, init=False)
    """Whether it is ours, and its words begin the very token."""
    _pattern: re.Pattern[bytes] | None = field(default=None, repr=False)
    _growing: re.Pattern[bytes] | None = field(default=None, repr=False)
    _derived: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        self.gated = re.compile(self.gate.encode("latin-1")) if self.gate else None
        self.is_prefix = self.own and not (self.before or self.group or self.assigned or self.password)

    @property
    def pattern(self) -> re.Pattern[bytes]:
        """Compiled when first needed: a text holds the words of few."""
        if self._pattern is None:
            self._pattern = re.compile(self.source.encode("latin-1"))
        return self._pattern

    @property
    def growing(self) -> re.Pattern[bytes] | None:
        """What begins as the secret does; None where that cannot be told."""
        if not self._derived:
            self._derived = True
            source = self.unfinished
            if not source and not (self.assigned or self.password):
                source = derived(self.source, () if self.before else self.words, own=self.is_prefix)
            self._growing = re.compile(source.encode("latin-1")) if source else None
        return self._growing


@dataclass(frozen=True, slots=True)
class Rules:
    """`words[i]` announces `by_word[i]`; the empty tuple stands for blocks and assignments."""

    rules: Sequence[Rule]
    words: Sequence[bytes]
    by_word: Sequence[tuple[Rule, ...]]
    search: BytesAhoCorasick
    far: BytesAhoCorasick
    """Finds the words whose matches may be longer than `FAR_BYTES`, and escapes."""
    assignments: frozenset[int]
    block: int
    escape: int
    apart: frozenset[int]
    """Words of statements and manifests, `block` and `escape`: they announce no rule."""
    manifests: frozenset[int]


@cache
def version() -> str:
    """What remembered findings depend on, besides the text."""
    return _version(_texts())


@cache
def rules() -> Rules:
    """All rules, made ready once."""
    made = [
        _rule(entry, own=name.endswith(".toml"))
        for name, text in _texts().items()
        for entry in (
            tomllib.loads(text.decode())["rule"] if name.endswith(".toml") else json.loads(text)["rules"]
        )
    ]
    words: dict[bytes, list[Rule]] = {}
    for rule in made:
        for word in rule.words:
            words.setdefault(word.encode("ascii"), []).append(rule)
    for word in (ESCAPE, BLOCK, *STATEMENTS, *MANIFESTS, *ASSIGNMENTS):
        words.setdefault(word, [])
    listed = list(words)
    return Rules(
        rules=made,
        words=listed,
        by_word=[tuple(words[word]) for word in listed],
        search=BytesAhoCorasick(listed, implementation=Implementation.DFA),
        far=BytesAhoCorasick(
            [
                ESCAPE,
                *(w for w in listed if any(rule.before + rule.after > FAR_BYTES for rule in words[w])),
            ],
            implementation=Implementation.DFA,
        ),
        assignments=frozenset(listed.index(word) for word in ASSIGNMENTS),
        block=listed.index(BLOCK),
        escape=listed.index(ESCAPE),
        apart=frozenset(listed.index(word) for word in (ESCAPE, BLOCK, *STATEMENTS, *MANIFESTS)),
        manifests=frozenset(listed.index(word) for word in MANIFESTS),
    )


def _rule(entry: Mapping[str, object], *, own: bool) -> Rule:
    facts = {key: value for key, value in entry.items() if key not in ("source", "pattern", "words")}
    words = entry["words"]
    if not isinstance(words, list):
        raise TypeError(f"the rule {entry['id']} has no words")
    return Rule(words=tuple(map(str, words)), source=str(entry["pattern"]), own=own, **facts)  # pyright: ignore


@cache
def _texts() -> dict[str, bytes]:
    here = resources.files(__name__.rpartition(".")[0])
    return {name: here.joinpath(name).read_bytes() for name in FILES}


def _version(texts: Mapping[str, bytes]) -> str:
    whole = b"\0".join((str(ENGINE_VERSION).encode(), *texts.values()))
    return hashlib.blake2b(whole, digest_size=6).hexdigest()
