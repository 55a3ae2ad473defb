"""Make `glm_lsp/core/secrets/shapes.json` from the rules of a well-kept detector.

    python -m venv v && v/bin/pip install kingfisher-bin
    v/bin/kingfisher rules list --format json --no-update-check > rules.json
    python config/secrets/make_rules.py rules.json > glm_lsp/core/secrets/shapes.json

MongoDB's Kingfisher lists the rules of Betterleaks and of OSV-SCALIBR's Veles. Only shapes are taken: what a
secret looks like, never how one would be verified. Left out are rules for what is no secret by itself, and
rules without a word that every match holds, for the word is what files are searched for.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MOST_WORDS = 24
MOST_BEFORE, MOST_AFTER = 120, 1_200
LEAST = re.compile(r".{4}|(?=.*[^a-z0-9]).{3}")
"""A word has four characters, or three of which one is no letter or digit."""
COMMON = frozenset(
    {
        *("password", "secret", "token", "curl", "http", "https", "https://", "http://", "access", "cursor"),
        *(
            "linear",
            "message",
            "private",
            "session",
            "security",
            "poly",
            "enterprise",
            "test_",
            "live_",
            "ion_",
        ),
        *("checkout", "stability", "travis", "docker", "python", "node", "confluent", "api-"),
    }
)
"""Words that stand in every other file: what they announce is left to the rule for assignments."""
LEFT_OUT = {
    "curl-auth-header": "a word of every shell script; the credentials in it have rules of their own",
    "curl-auth-user": "the same",
    "hashicorp-tf-password": "the rule for assignments finds it",
    "generic-api-key": "the rule for assignments is our own",
    "dropbox-api-token": "fifteen letters and digits look like anything",
    "private-key": "blocks are found by their first line",
    "jwt": "ours takes linear time",
    "kubernetes-secret-yaml": "it takes more than linear time",
    "mongodb-connection-string": "the rule for addresses is our own",
    "generic-credential-uri": "the rule for addresses is our own",
    "gcp-application-default-credentials": "it takes any object that has these keys",
    "pkcs12-file": "files are left out by their names",
}
ASSIGNED = "(?:=|>|:{1,3}="


def main() -> None:
    listed = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    made: dict[str, dict[str, Any]] = {}
    for rule in listed:
        name = re.sub(r"\.\d+$", "", rule["id"].removeprefix("betterleaks.").removeprefix("veles.secrets/"))
        try:
            if name in LEFT_OUT or name.endswith(("-id", "-username")) or not rule["visible"]:
                raise ValueError("left out")
            shape = shaped(rule["pattern"])
        except (ValueError, re.error) as error:
            sys.stderr.write(f"{rule['id']}: {error}\n")
            continue
        made[rule["id"]] = {"what": name.replace("-", " "), **shape}
    rules = [{"id": identity, **rule} for identity, rule in made.items()]
    sys.stdout.write(json.dumps({"about": ABOUT, "rules": rules}, indent=0) + "\n")


ABOUT = (
    "Made by config/secrets/make_rules.py; do not edit.",
    "Shapes of secrets, from the rules of Betterleaks (https://github.com/betterleaks/betterleaks, MIT, by",
    "the author of Gitleaks) and of Veles (https://github.com/google/osv-scalibr, Apache-2.0), as MongoDB's",
    "Kingfisher lists them (https://github.com/mongodb/kingfisher, Apache-2.0; kingfisher-bin 2.14.0).",
    "words: in lower case; a match holds one of them.",
    "before, after: bytes around the word that a match may have. group: the part that is the secret.",
    "assigned: the secret has no shape of its own, so it must look random.",
)
"""JSON, because reading 100 KB of TOML takes 50 ms at every start."""


def shaped(pattern: str) -> dict[str, Any]:
    """A rule's facts in our form. Raises ValueError or re.error where there is none."""
    pattern = translated(pattern)
    compiled = re.compile(pattern.encode("latin-1"))
    words, before, after = announced(parser.parse(pattern.encode("latin-1")))
    if not words or not all(LEAST.match(word) for word in words):
        raise ValueError(f"no word that every match holds: {sorted(words)}")
    groups = compiled.groupindex
    shape: dict[str, Any] = {
        "words": sorted(words),
        "pattern": pattern,
        "group": groups.get("TOKEN", 1)
        if compiled.groups and (groups.get("TOKEN") or compiled.groups == 1)
        else 0,
        "before": min(before, MOST_BEFORE),
        "after": min(after, MOST_AFTER),
    }
    if (
        ASSIGNED in pattern
        or "(?:=|:)" in pattern
        or "[:=]" in pattern
        or re.search(r"\{0,(?:16|24|32)\}\?", pattern)
    ):
        shape["assigned"] = True
    return shape


def translated(pattern: str) -> str:
    """RE2's syntax in Python's."""
    pattern = pattern.replace(r"\z", r"\Z").replace("[[:alnum:]]", "[0-9A-Za-z]")
    pattern = pattern.replace("[:alnum:]", "0-9A-Za-z").replace("[:word:]", r"\w")
    flags = ""
    while found := re.match(r"\(\?([isx]+)\)", pattern):
        flags += found[1]
        pattern = pattern[found.end() :]
    while found := re.search(r"\(\?i\)", pattern):
        end = closing(pattern, found.end())
        pattern = f"{pattern[: found.start()]}(?i:{pattern[found.end() : end]}){pattern[end:]}"
    return (f"(?{''.join(sorted(set(flags)))})" if flags else "") + pattern


def closing(pattern: str, at: int) -> int:
    """Where the group that `at` stands in ends."""
    depth, in_set = 0, False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 1
        elif in_set:
            in_set = character != "]"
        elif character == "[":
            in_set = True
        elif character == "(":
            depth += 1
        elif character == ")":
            if not depth:
                return at
            depth -= 1
        at += 1
    return at


def announced(tree: Any) -> tuple[frozenset[str], int, int]:
    """The best set of words of which every match holds one, and the most bytes before and after its start."""
    found: list[tuple[frozenset[str], int, int]] = []
    items = flat(list(tree))
    current, start = frozenset({""}), 0
    for at, item in enumerate([*items, (None, None)]):
        more = spelled(item)
        joined = frozenset(a + b for a, b in product(current, more)) if more else frozenset()
        if more and len(joined) <= MOST_WORDS:
            current = joined
            continue
        if "" not in current:
            found.append((current, width(items[:start]), width(items[start:])))
        if "" not in current and item[0] is ops.BRANCH and (led := leading(item[1][1])):
            joined = frozenset(a + b for a, b in product(current, led))
            found.append((joined, width(items[:start]), width(items[start:])))
        if item[0] is ops.BRANCH and (inner := branched(item[1][1])):
            words, before, after = inner
            found.append((words, width(items[:at]) + before, after + width(items[at + 1 :])))
        current, start = (more, at) if more else (frozenset({""}), at + 1)
    found = [f for f in found if not f[0] & COMMON and len(f[0]) <= MOST_WORDS]
    return max(found, key=worth, default=(frozenset(), 0, 0))


def worth(candidate: tuple[frozenset[str], int, int]) -> tuple[int, int]:
    words = candidate[0]
    return min(min(map(len, words)), 10), -len(words)


def branched(branches: Iterable[Any]) -> tuple[frozenset[str], int, int] | None:
    parts = [announced(branch) for branch in branches]
    if not all(words for words, _, _ in parts):
        return None
    words = frozenset().union(*(words for words, _, _ in parts))
    return (words, max(p[1] for p in parts), max(p[2] for p in parts)) if len(words) <= MOST_WORDS else None


def leading(branches: Iterable[Any]) -> frozenset[str]:
    """What branches begin with; none where one begins with nothing in particular."""
    texts: set[str] = set()
    for branch in branches:
        text = ""
        for part in flat(list(branch)):
            more = spelled(part)
            if len(more) != 1:
                break
            text += next(iter(more))
        if not text:
            return frozenset()
        texts.add(text)
    return frozenset(texts)


def flat(items: list[Any]) -> list[Any]:
    """Groups and what is repeated exactly once or more, opened."""
    out: list[Any] = []
    for kind, value in items:
        if kind is ops.SUBPATTERN:
            out += flat(list(value[3]))
        elif kind in (ops.MAX_REPEAT, ops.MIN_REPEAT) and value[0] == value[1] == 1:
            out += flat(list(value[2]))
        else:
            out.append((kind, value))
    return out


def spelled(item: Any) -> frozenset[str]:
    """The texts that an item stands for, in lower case; none where it is not that simple."""
    kind, value = item
    if kind is ops.LITERAL:
        return frozenset({chr(value).lower()})
    if kind is ops.AT:
        return frozenset({""})
    if kind is ops.IN and all(k is ops.LITERAL for k, _ in value):
        letters = frozenset(chr(v).lower() for _, v in value)
        return letters if len(letters) <= 3 else frozenset()
    if kind in (ops.MAX_REPEAT, ops.MIN_REPEAT) and value[:2] == (0, 1):
        inner = [spelled(part) for part in flat(list(value[2]))]
        return frozenset({"", *("".join(p) for p in product(*inner))}) if all(inner) else frozenset()
    if kind is ops.BRANCH:
        texts: set[str] = set()
        for branch in value[1]:
            parts = [spelled(part) for part in flat(list(branch))]
            if not all(parts):
                return frozenset()
            texts |= {"".join(p) for p in product(*parts)}
            if len(texts) > MOST_WORDS:
                return frozenset()
        return frozenset(texts)
    return frozenset()


def width(items: list[Any]) -> int:
    return min(parser.SubPattern(parser.State(), items).getwidth()[1], 10_000)


if __name__ == "__main__":
    main()
