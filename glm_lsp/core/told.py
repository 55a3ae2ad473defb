"""What a ledger has told an engine, without what only its own client knows: the part that others go on from.

The token counts are left out on purpose: whoever takes it over counts anew, with its own tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from glm_lsp.core import layout
from glm_lsp.core import ledger as ledgers
from glm_lsp.core.ledger import Ledger
from glm_lsp.core.pack import Count
from glm_lsp.core.values import Block, BlockKind


@dataclass(frozen=True, slots=True)
class Told:
    """Head and log of an epoch. `tracked` has the text, as told, of each file of which lines are shown."""

    head: tuple[Block, ...]
    log: tuple[Block, ...]
    tracked: Mapping[str, str]
    outlined: Mapping[str, str]

    @classmethod
    def of(cls, ledger: Ledger) -> Told:
        """A file that was only followed has not been spoken of: others follow it from their own text on."""
        shown = {block.path for block in ledger.blocks}
        tracked = {p: "\n".join(lines) for p, lines in ledger.tracked.items() if p in shown}
        return cls(ledger.head_blocks, ledger.log_blocks, tracked, dict(ledger.outlined))

    @property
    def heading(self) -> tuple[str, ...]:
        """What tells epochs apart."""
        return tuple(block.text for block in self.head)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that it shows something of."""
        return tuple(dict.fromkeys(block.path for block in (*self.head, *self.log)))

    @property
    def signatures(self) -> Mapping[str, frozenset[str]]:
        """The definitions whose signatures, not whose lines, it shows, by file."""
        found: dict[str, frozenset[str]] = {}
        for block in (*self.head, *self.log):
            if block.text.startswith(layout.outline_block(block.path, ())):
                found[block.path] = found.get(block.path, frozenset()) | set(block.symbols)
            elif block.text.startswith(layout.gone_of(block.path)):
                found[block.path] = found.get(block.path, frozenset()) - set(block.symbols)
        return found

    def ledger(self, epoch: int, budget_tokens: int, system: str, count: Count) -> Ledger:
        """The ledger to go on with, byte for byte as it was told."""
        head = tuple(replace(block, tokens=count(block.text)) for block in self.head)
        log = tuple(replace(block, tokens=count(block.text)) for block in self.log)
        files = {path: tuple(text.split("\n")) for path, text in self.tracked.items()}
        sources = {b.path for b in head if b.kind is BlockKind.BODY}
        begun = ledgers.begin(
            epoch,
            budget_tokens,
            system,
            blocks=head,
            files={p: files.get(p, ()) for p in sources},
            count=count,
        )
        begun = replace(begun, tracked=files, outlined=dict(self.outlined), base={})
        return ledgers.with_log(begun, log, count)
