"""How the tokens of a prompt for a remote engine are counted: nothing here sends anything.

Exactly, where the model's vocabulary is in a file of this machine (`remote.tokenizer`). Otherwise what a
server has counted for us, line by line, and a bound that learns for everything else. Text is counted as it is
sent, with GLM's own tokens disarmed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from glm_lsp.core.generation import Prompt, Tokenizer
from glm_lsp.core.secrets import censored
from glm_lsp.engines.bounds import ApproximateTokenizer, Learned
from glm_lsp.engines.pretypes import LINES, alphabet
from glm_lsp.engines.remote.filters import disarm

LEARN_FROM_TOKENS = 256
"""In a shorter prompt the server's template weighs too much."""
CALL_CHARS = 64 << 10
"""Of lines that a server is asked about at once."""
WORTH_ASKING = 24
"""Lines that are not known: for fewer nobody is asked."""
_KEPT_LINES = 1 << 17
_MOST_WANTED = 1 << 13
_LONGEST_LINE = 16 << 10
CROSSING = "its tokens go across the ends of lines"


class RemoteTokenizer(Tokenizer):
    """Counts for a remote engine. Safe for several threads.

    `inner` is the model's own tokenizer, or a bound. Of what a server counts (`learn`) only whole lines are
    kept: by every known way to cut, a line begins a word, so that their tokens add up.
    """

    def __init__(self, inner: Tokenizer, *, asks: bool = False) -> None:
        self._inner = inner
        self._asks = asks and not inner.exact
        self._known: OrderedDict[str, int] = OrderedDict()
        self._wanted: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self.reports = self.misses = 0
        """Of this process: how often the engine said what a prompt had, and how often that was more."""

    @property
    def exact(self) -> bool:
        return self._inner.exact

    @property
    def learned(self) -> Learned | None:
        """What the bound goes by; None where none is needed."""
        return self._inner.learned if isinstance(self._inner, ApproximateTokenizer) else None

    @property
    def known_lines(self) -> int:
        return len(self._known)

    def count(self, text: str) -> int:
        text = disarm(text)
        if not self._asks:
            return self._inner.count(text)
        known, rest = 0, list[str]()
        with self._lock:
            for line in LINES.split(text):
                tokens = self._known.get(line)
                if tokens is None:
                    rest.append(line)
                else:
                    known += tokens
            for line in rest:
                if line not in self._wanted and _askable(line):
                    self._wanted[line] = None
            while len(self._wanted) > _MOST_WANTED:
                self._wanted.popitem(last=False)
        return known + (self._inner.count("".join(rest)) if rest else 0)

    def report(self, prompt: Prompt, reported: int, slack: int) -> None:
        """The engine counted `reported` tokens in a prompt; `slack` is what its own template may add."""
        if prompt.tokens < LEARN_FROM_TOKENS or reported <= 0:
            return
        missed = reported > prompt.tokens + slack
        self.reports += 1
        self.misses += missed
        if isinstance(self._inner, ApproximateTokenizer):
            texts = [disarm(text) for text in (*(s.text for s in prompt.segments), prompt.suffix) if text]
            self._inner.observe(sum(map(self._inner.weight, texts)), reported, missed=missed)

    def wanted(self) -> list[str]:
        """Lines to ask a server about, in the order in which they came, at most CALL_CHARS; then forgotten.

        No secret is among them, and nothing where there are too few to bother anybody.
        """
        with self._lock:
            if not self._asks or len(self._wanted) < WORTH_ASKING:
                return []
            taken: list[str] = []
            chars = 0
            while self._wanted and chars < CALL_CHARS:
                line, _ = self._wanted.popitem(last=False)
                taken.append(line)
                chars += len(line)
        clean = [line for line in taken if censored(line) == line]
        # What a secret of many lines would be as a whole.
        return clean if censored(whole := "".join(clean)) == whole else []

    def learn(self, lines: Iterable[str], counts: Iterable[int]) -> None:
        """A server has counted these lines. A count that no vocabulary can reach is not believed."""
        with self._lock:
            for line, tokens in zip(lines, counts, strict=True):
                if 1 <= tokens <= len(line.encode("utf-8", "replace")):
                    self._known[line] = tokens
            while len(self._known) > _KEPT_LINES:
                self._known.popitem(last=False)

    def give_up(self) -> None:
        """The server does not count as we need it: the bound alone serves."""
        with self._lock:
            self._asks = False
            self._wanted.clear()
            self._known.clear()

    def save(self) -> None:
        """Keep what was learned, for the next process."""
        if isinstance(self._inner, ApproximateTokenizer):
            self._inner.save()


def _askable(line: str) -> bool:
    start = line.lstrip(" \t")[:1]
    return line.endswith("\n") and "!" <= start <= "~" and len(line) <= _LONGEST_LINE


def by_line(pieces: Sequence[bytes], lines: Sequence[str]) -> list[int]:
    """How many of these tokens each line has. Raises ValueError unless they are the lines, each its own."""
    counts: list[int] = []
    at = 0
    for line in lines:
        left, first = line.encode("utf-8", "replace"), at
        while left:
            if at == len(pieces) or not pieces[at] or not left.startswith(pieces[at]):
                whole = b"".join(pieces) == "".join(lines).encode("utf-8", "replace")
                raise ValueError(CROSSING if whole else "its tokens are not those of the text")
            left = left[len(pieces[at]) :]
            at += 1
        counts.append(at - first)
    if at != len(pieces):
        raise ValueError("its tokens are not those of the text")
    return counts


_LETTERS = {letter: byte for byte, letter in enumerate(alphabet())}


def bytes_of(token: str) -> bytes:
    """The bytes of a token of a byte-level vocabulary. Raises ValueError for any other."""
    try:
        return bytes(_LETTERS[letter] for letter in token)
    except KeyError:
        raise ValueError("its tokens are not those of a byte-level vocabulary") from None
