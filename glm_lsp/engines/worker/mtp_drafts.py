"""One answer's drafts by the layer that foretells tokens (MTP), beside those of another source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from glm_lsp.engines.worker.llama import Ids
from glm_lsp.engines.worker.mtp import WINDOW, MtpHead, MtpWindow, Shown
from glm_lsp.engines.worker.mtp_policy import NOTHING, MtpRecord, draft, learn

_LEAST_WINDOW = 16


@dataclass(frozen=True, slots=True)
class Mtp:
    """The layer, and what is known of it."""

    head: MtpHead
    record: MtpRecord

    @property
    def window(self) -> int:
        """So many tokens before the answer that reading them costs a step of the model at most."""
        return min(WINDOW, max(_LEAST_WINDOW, int(1 / max(self.record.mtp.entry, 1e-9))))


class Other(Protocol):
    """The answer's other source of drafts, which keeps the account of what all have saved and spent."""

    saving: float

    @property
    def spare(self) -> float: ...

    def charge(self, steps: float) -> None: ...

    def propose(self, most: int) -> Ids: ...


class MtpDrafts:
    """The layer's drafts of one answer.

    After each feed of the model that was asked for states: `saw`. Then, for each draft, `propose`, and
    `learn` with what was chosen.
    """

    def __init__(self, mtp: Mtp) -> None:
        self._record = mtp.record
        self._head = mtp.head
        self._window = MtpWindow(mtp.head, mtp.window)
        self._attempt = NOTHING
        self.drafted = self.accepted = 0
        """Guesses of this answer that were verified, and those that were right."""
        mtp.record.begin()

    def wants(self, end: int, total: int) -> Shown:
        """What states to ask for where the prompt, of `total` tokens, is fed up to `end`."""
        return Shown.ALL if end > total - self._window.most else Shown.NONE

    def saw(self, start: int, count: int) -> None:
        """The model has been fed tokens from position `start` on, and has `count` states of them."""
        self._window.saw(start, self._head.shown(count))

    def propose(self, ids: Ids, most: int, other: Other) -> Ids:
        """Return the layer's draft or, if that is expected to save more, the other source's.

        At most `most` tokens, which may follow the last of `ids`. Raises Interrupted.
        """
        proposed, self._attempt = other.propose(most), NOTHING
        behind = self._window.behind(len(ids) - 1)
        if behind < 0:
            return proposed
        rival = other.saving if len(proposed) else 0.0
        self._attempt = attempt = draft(
            self._record,
            self._window.guesses(ids),
            behind=behind,
            most=most,
            spare=other.spare,
            rival=rival,
        )
        if attempt.spent:
            other.charge(attempt.spent)
        if attempt.worth_verifying:
            return np.asarray(attempt.tokens, np.int32)
        # What was spent has made less of the other's affordable.
        return other.propose(most) if attempt.spent else proposed

    def learn(self, chosen: Sequence[int] | Ids) -> None:
        """These tokens have followed."""
        attempt, self._attempt = self._attempt, NOTHING
        if attempt.guesses:
            self.drafted += attempt.worth_verifying
            self.accepted += learn(self._record, attempt, [int(token) for token in chosen])
