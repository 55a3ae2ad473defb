"""A bound on the tokens of a text, for engines whose tokenizer is not at hand, and what it learns.

An engine says after each request how many tokens the prompt had. What that is, as a share of the bound from
the look of the text, is remembered for each engine and model: the bound becomes the largest share seen of
late, and a little more. Whatever an engine says, and whatever lies on the disk, the share stays within
`LEAST_SHARE` and `MOST_SHARE`.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from glm_lsp.core.generation import Tokenizer

LEAST_SHARE, MOST_SHARE = 0.5, 4.0
"""No vocabulary of a model for code needs less, on source, or more: an engine that says so is wrong."""
MARGIN = 1.04
"""The next text may be a little denser than any before."""
KEPT_SHARES = 64
ENOUGH_REPORTS = 5
"""Before so many reports the bound is only ever raised."""
_KEPT_CHARS = 16 << 20
_LARGEST_FILE = 256 << 10
_MOST_MODELS = 64
_NAME = re.compile(r"[0-9a-f]{32}")


class Learned(msgspec.Struct, frozen=True):
    """What is known of a model's tokens: shares of the bound as reported, the latest last, and how often
    the bound was too low (`misses`) among all `reports`."""

    shares: tuple[float, ...] = ()
    reports: int = 0
    misses: int = 0

    @property
    def share(self) -> float:
        """What the bound from the look of a text is multiplied by."""
        if not self.shares:
            return 1.0
        share = max(self.shares) * MARGIN
        if len(self.shares) < ENOUGH_REPORTS:
            share = max(share, 1.0)
        return min(max(share, LEAST_SHARE), MOST_SHARE)

    def with_report(self, share: float, *, missed: bool) -> Learned:
        """One that no vocabulary can reach counts as the nearest that one can."""
        share = min(max(share, LEAST_SHARE), MOST_SHARE)
        return Learned((*self.shares, share)[-KEPT_SHARES:], self.reports + 1, self.misses + missed)


@dataclass(frozen=True, slots=True)
class Memory:
    """Where it is kept: one small file for all engines. It is not trusted, and losing it is no error."""

    file: Path
    name: str
    """Of the engine and model, as `memory` makes it."""

    def recall(self) -> Learned:
        return _read(self.file).get(self.name, Learned())

    def add(self, reports: Learned) -> None:
        """Add reports to what the file says by now. One that another process adds meanwhile may be lost."""
        known = dict(_read(self.file))
        old = known.pop(self.name, Learned())
        shares = (*old.shares, *reports.shares)[-KEPT_SHARES:]
        known[self.name] = Learned(shares, old.reports + reports.reports, old.misses + reports.misses)
        kept = dict(list(known.items())[-_MOST_MODELS:])
        from glm_lsp.disk import atomic  # noqa: PLC0415 (most who count never keep anything)
        from glm_lsp.disk.store import Refused, private_directory  # noqa: PLC0415

        with contextlib.suppress(OSError, Refused):
            private_directory(self.file.parent)
            atomic.write(self.file, msgspec.json.encode(kept))


def memory(engine: str, model: str) -> Memory:
    """`engine` says what serves it, and where. Neither is written down, only a digest of both."""
    from glm_lsp.disk.store import default_directory  # noqa: PLC0415 (diskcache is slow to import)

    name = hashlib.blake2b(f"{engine}\0{model}".encode(), digest_size=16).hexdigest()
    return Memory(default_directory() / "counting" / "learned.json", name)


def _read(file: Path) -> Mapping[str, Learned]:
    """What of the file is sound."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST_FILE + 1)
        found = _decoder.decode(data) if len(data) <= _LARGEST_FILE else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: _sound(each) for name, each in found.items() if _NAME.fullmatch(name)}


def _sound(learned: Learned) -> Learned:
    reports = min(max(learned.reports, 0), 1 << 40)
    shares = [min(max(share, LEAST_SHARE), MOST_SHARE) for share in learned.shares[-KEPT_SHARES:]]
    return Learned(tuple(shares), reports, min(max(learned.misses, 0), reports))


_decoder = msgspec.json.Decoder(dict[str, Learned])


class ApproximateTokenizer(Tokenizer):
    """A bound from the look of the text, times what its engine has taught. Safe for several threads.

    The weights are fitted on the standard library's source against the bundled model's vocabulary of 8,192
    tokens; larger ones need fewer, so that learning lowers the bound. Untaught, a third too much is counted
    for vocabularies of 150,000 tokens; of 1,700 files two (tables of signs) are counted low for the bundled
    one, by 2 and 9 %.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self._memory = memory
        self.learned = memory.recall() if memory else Learned()
        self._unsaved = Learned()
        self._weights: OrderedDict[str, float] = OrderedDict()
        self._chars = 0
        self._lock = threading.Lock()

    @property
    def exact(self) -> bool:
        return False

    def count(self, text: str) -> int:
        return int(self.weight(text) * self.learned.share) + 1 if text else 0

    def weight(self, text: str) -> float:
        """The bound before it has learned anything; remembered by text."""
        with self._lock:
            if text in self._weights:
                self._weights.move_to_end(text)
                return self._weights[text]
        weight = _weight(text)
        with self._lock:
            if text not in self._weights:
                self._chars += len(text)
            self._weights[text] = weight
            while self._chars > _KEPT_CHARS:
                self._chars -= len(self._weights.popitem(last=False)[0])
        return weight

    def observe(self, weight: float, reported: int, *, missed: bool) -> None:
        """An engine counted `reported` tokens in texts of this weight, which was more than ours or not."""
        if weight <= 0 or reported <= 0:
            return
        with self._lock:
            share = reported / weight
            self.learned = self.learned.with_report(share, missed=missed)
            self._unsaved = self._unsaved.with_report(share, missed=missed)

    def save(self) -> None:
        """Keep what was learned, for the next process. It takes a few milliseconds: not on an event loop."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, Learned()
        if self._memory and unsaved.reports:
            self._memory.add(unsaved)


def _weight(text: str) -> float:
    if not text:
        return 0.0
    tokens = 2.0
    for match in _RUN.finditer(text):
        size = match.end() - match.start()
        match match.lastgroup:
            case "part":
                tokens += 1.1 + 0.2 * max(size - 4, 0)
            case "digits":
                tokens += 1.5 * size
            case "symbols":
                tokens += 0.5 + 0.72 * (size - 1)
            case "other":
                tokens += len(match.group().encode("utf-8", "replace"))
            case _:
                tokens += 3.1
    return tokens


_RUN = re.compile(
    r"(?P<part>[A-Z]?[a-z]+|[A-Z]+)|(?P<digits>[0-9]+)|(?P<other>[^\x00-\x7f]+)"
    r"|(?P<symbols>[!-/:-@\[-`{-~\x00-\x08\x0e-\x1f\x7f]+)|(?P<space>[\n\r\v\f]\s*|[ \t]{2,})"
)
