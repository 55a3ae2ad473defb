"""What the gate for secrets adds to a keystroke, and to indexing, over real files. Processor time, medians.

A keystroke is a character typed at a random place of a file that stays open: its text is looked through and
masked again, and a request of the size of a prompt passes the last gate. Indexing is what an indexing process
does with a file: read, look through, outline, pack.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from glm_lsp.core.generation import GenerateRequest, Prompt, Role, Segment
from glm_lsp.core.secrets import attributed, masked
from glm_lsp.core.syntax import language_of, outline
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features.gate import Gate
from glm_lsp.workspace.encoding import pack
from glm_lsp.workspace.files import Unreadable, load

WRITTEN = "token = compute(value, 'a short text')  # and so on\n"
TAIL_BYTES, SEGMENT_BYTES, SEGMENTS = 12_000, 12_000, 10
"""A prompt of 32k tokens: ten segments that stay and a tail that changes."""
MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Typing:
    """Milliseconds of processor time for each keystroke, in a file of `size_bytes`."""

    size_bytes: int
    milliseconds: tuple[float, ...]

    @property
    def p95(self) -> float:
        return quantiles(self.milliseconds, n=20)[-1]


def typing(files: Iterable[tuple[str, bytes]], keystrokes: int, seed: int = 1) -> list[Typing]:
    dice = random.Random(seed)
    return [_typed(path, data, keystrokes, dice) for path, data in files]


def _typed(path: str, data: bytes, keystrokes: int, dice: random.Random) -> Typing:
    gate = Gate(ScriptedEngine("x"))
    fixed = tuple(
        Segment(Role.USER, data[at : at + SEGMENT_BYTES].decode("utf-8", "replace"))
        for at in range(0, min(len(data), SEGMENTS * SEGMENT_BYTES), SEGMENT_BYTES)
    )
    text, took, at = data, [], 0
    masked(Document(path, text, digest(text), ""), open_=True)
    for number in range(keystrokes):
        if number % len(WRITTEN) == 0:
            at = text.find(b"\n", dice.randrange(len(text) + 1)) + 1
        character = WRITTEN[number % len(WRITTEN)].encode()
        text = text[:at] + character + text[at:]
        at += 1
        document = Document(path, text, digest(text), "")
        began = time.process_time()
        shown = masked(document, open_=True)
        took.append(time.process_time() - began)
        tail = shown.data[max(0, at - TAIL_BYTES // 2) : at + TAIL_BYTES // 2].decode("utf-8", "replace")
        prompt = Prompt((*fixed, Segment(Role.USER, tail)), 0)
        began = time.process_time()
        gate.passed(GenerateRequest(prompt, 10))
        took[-1] += time.process_time() - began
    return Typing(len(data), tuple(1000 * seconds for seconds in took))


def share(files: Sequence[tuple[str, bytes]], rounds: int) -> tuple[float, float]:
    """Seconds of processor time for looking through these files, and for all that indexing does with them."""
    looked: list[float] = []
    whole: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for path, data in files:
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(data)
        for _ in range(rounds):
            in_gate, began = 0.0, time.process_time()
            for path, _ in files:
                try:
                    document = load(Path(folder), path, MOST_BYTES, look=False)
                except Unreadable:
                    continue
                before = time.process_time()
                shown = masked(document)
                in_gate += time.process_time() - before
                pack(attributed(outline("", shown.data, language_of(path)), shown))
            whole.append(time.process_time() - began)
            looked.append(in_gate)
    return median(looked), median(whole)
