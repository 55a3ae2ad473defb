"""One request from prompt to last token, in steps between which anything else may run.

A step is one call into llama.cpp: one batch of the prompt, or one token with the draft that follows it.
Tokens are chosen in the step that gives their logits, so a pause between any two steps loses nothing: what is
left to do is what the sequence does not hold yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import msgspec
import numpy as np

from glm_lsp.core.errors import EngineDied, PromptTooLong
from glm_lsp.core.generation import Finish
from glm_lsp.engines.frames import Cancelled, Done, Generate, Progress, Reply
from glm_lsp.engines.worker.answer import Answer
from glm_lsp.engines.worker.context import Context, Interrupted, NoRoom, Rows
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.drafts import Speculator
from glm_lsp.engines.worker.figures import Figures
from glm_lsp.engines.worker.llama import Logits
from glm_lsp.engines.worker.model import Model
from glm_lsp.engines.worker.mtp import Shown
from glm_lsp.engines.worker.mtp_drafts import Mtp, MtpDrafts
from glm_lsp.engines.worker.pieces import Pieces
from glm_lsp.engines.worker.prefixes import Ids
from glm_lsp.engines.worker.trunks import Lease, Pool
from glm_lsp.engines.worker.vocabulary import Vocabulary

PROMISED_SHARE, PROMISED_LEAST = 1 / 4, 128
"""Of an answer's longest length so much is promised cells at first: few are half as long as they may be."""
SPARE_CELLS = 64
"""With fewer left an answer asks for more, if only the idle have to give them: drafts need some."""
RUN_S = 0.05
"""Tokens are written one after another for so long, if nobody else wants anything."""
SLOW_S = 0.01
"""Tokens that take longer are handed on one by one: what that costs is nothing beside them."""


class Blocked(Enum):
    """There is no room beside those that go before; a later step may find some."""

    BLOCKED = 0


@dataclass(slots=True)
class Machine:
    """What all generations of a worker share. What drafts cost may become known only when some have begun."""

    model: Model
    context: Context
    vocabulary: Vocabulary
    pool: Pool
    figures: Figures
    context_tokens: int
    """Of one request."""
    costs: CostTable = field(default_factory=CostTable)
    mtp: Mtp | None = None
    """The layer that foretells tokens, where there is one that could pay."""


class Generation:
    """The work on one request. Raises PromptTooLong or UsageError before anything is evaluated."""

    def __init__(self, machine: Machine, request: Generate, send: Callable[[Reply], None]) -> None:
        self._machine = machine
        self._request = request
        self._send = send
        prompt = machine.vocabulary.encode(request.pieces, request.heal)
        self.total = len(prompt.ids)
        if self.total + (request.max_tokens > 0) > machine.context_tokens:
            raise PromptTooLong(
                f"The prompt has {self.total:,} tokens, but the model's context has "
                f"{machine.context_tokens:,}: raise model.context_tokens, or ask with less."
            )
        self._trunk = len(machine.vocabulary.encode(request.pieces[: request.trunk]).ids)
        self._warms = request.max_tokens == 0
        self._answer = Answer(machine.model, machine.vocabulary, request, prompt, send)
        most = 0 if self._warms else self._answer.left
        self._cells = min(self.total + most, max(machine.context_tokens, self.total))
        self._ids: Ids = np.zeros(self._cells + 1, np.int32)
        """The prompt and the answer: what is, or is to be, in the sequence."""
        self._ids[: self.total] = prompt.ids
        self._end = self.total
        """So many of them there are; after the prompt the last one is never in the sequence yet."""
        self._lease: Lease | None = None
        self._speculator: Speculator | None = None
        wanted = machine.mtp is not None and request.drafts and not self._warms
        self._mtp = MtpDrafts(machine.mtp) if machine.mtp is not None and wanted else None
        self._optimistic = True
        self._reached = 0
        """Tokens that were evaluated or found at any time."""
        self._cached = self._restored = self._again = self._interrupted = 0
        self._drafted = self._accepted = self._near_ties = 0
        self._prefill_s = self._decode_s = 0.0
        self._uneven = False
        """Interruptions have changed the sizes of the calls, and so perhaps the last bits."""
        self._forecast_s = -1.0
        batch = machine.context.batch_tokens
        self._pieces = Pieces(batch, lambda size: machine.figures.piece_s(self.done, size))
        self._steps = Pieces(batch, lambda size: machine.figures.piece_s(self._end, size))

    # What others may ask, from any thread.

    @property
    def writing(self) -> bool:
        """The prompt is evaluated."""
        return self._end > self.total

    @property
    def done(self) -> int:
        """Prompt tokens in the KV cache."""
        lease = self._lease
        return min(lease.sequence.count, self.total) if lease is not None and not lease.lost else 0

    @property
    def seconds_left(self) -> float:
        """Work until the first token, as far as the speed so far tells; -1: unknown."""
        return 0.0 if self.writing else self._machine.figures.prefill_s(self.done, self.total)

    def next_s(self) -> float:
        """How long the next step is expected to take."""
        done, figures = self.done, self._machine.figures
        if done < self.total:
            return figures.batch_s(done, self._pieces.end(done, self.total) - done, writing=False)
        return figures.batch_s(self._end, 1, writing=True)

    @property
    def firm(self) -> bool:
        """The next step is not to be interrupted for anybody: else this would never get on."""
        return (self._pieces if self.done < self.total else self._steps).firm

    # The thread that runs the model.

    def step(self, stirred: Callable[[], bool] = lambda: True) -> Done | Blocked | None:
        """Do one step; None: there is more to do. Raises a GlmError, after which `close` is all that is left.

        An interrupted step has done nothing, or less, and is done again by the next one. Until `stirred` says
        that others may want something, a step may write several tokens, for at most `RUN_S`.
        """
        machine, lease = self._machine, self._lease
        if lease is None or lease.lost:
            if lease is not None:
                # Whoever had to give way once begins again with all that it may need.
                self._optimistic = False
            lease = self._begin()
            if lease is None:
                return Blocked.BLOCKED
        try:
            # While writing, the last token waits for its own step.
            target = self._end - 1 if self.writing else self._end
            if lease.sequence.count < target:
                return self._read(lease, target)
            if self._warms:
                return self._finish(Finish.LENGTH)
            return self._write(lease, stirred) if self._has_room(lease) else Blocked.BLOCKED
        except Interrupted:
            machine.context.resume()
        except NoRoom as error:
            if not machine.pool.relieve(lease):
                raise EngineDied(f"One request alone fills the KV cache; report this. {error}") from error
        finally:
            self._answer.send()
        return None

    def _has_room(self, lease: Lease) -> bool:
        """Whether the last token may be evaluated; more is promised in time, if somebody can give it."""
        left = lease.cells - self._end
        if left >= SPARE_CELLS or lease.cells >= self._cells:
            return left >= 0
        more = min(self._end + self._part, self._cells)
        pool = self._machine.pool
        return pool.grow(lease, more, spare=True) or left >= 0 or pool.grow(lease, more)

    @property
    def _part(self) -> int:
        """Cells of the answer that are promised at once."""
        most = self._cells - self.total
        return max(int(PROMISED_SHARE * most), PROMISED_LEAST) if self._optimistic else most

    def pause(self) -> None:
        """Something else goes first."""
        self._interrupted += 1
        self._pieces.paused()
        self._steps.paused()
        if not self.writing:
            self._report()

    def resume(self) -> None:
        """Go on. What others have evaluated of the prompt meanwhile is taken over."""
        lease = self._lease
        if lease is None or lease.lost or self.writing:
            return
        ids = self._ids[: self.total]
        gain = self._machine.pool.catch_up(lease, ids, evaluate=0 if self._warms else 1)
        if gain:
            self._cached += gain
            self._forecast_s = -1.0
        self._reached = max(self._reached, lease.sequence.count)

    def spent(self) -> Done:
        """What was done for it so far, however it ends."""
        return msgspec.structs.replace(
            self._finish(Finish.LENGTH), prompt_tokens=min(self._reached, self.total)
        )

    def cancel(self) -> Cancelled:
        """How it ends if it is not wanted any more."""
        return Cancelled(self._request.id, self._answer.output_tokens)

    def close(self) -> None:
        """Let go of everything. What was evaluated stays for the next request."""
        self._answer.close()
        if self._lease is not None and not self._lease.lost:
            self._machine.pool.end(self._lease)
        self._lease = None

    def _begin(self) -> Lease | None:
        writing = self.writing
        fed = self._end - 1 if writing else self._end
        lease = self._machine.pool.begin(
            self._ids[:fed],
            trunk=self._trunk,
            reserve=min(self._part, self._cells - fed),
            urgency=self._request.urgency,
            evaluate=0 if writing or self._warms else 1,
        )
        self._lease = lease
        if lease is None:
            return None
        if not self._reached:
            self._cached, self._restored = lease.held, lease.restored
            self._forecast_s = self._machine.figures.prefill_s(lease.held, self.total)
        self._reached = max(self._reached, lease.held)
        if not writing:
            self._report()
        return lease

    def _read(self, lease: Lease, target: int) -> Done | None:
        """Evaluate one batch, up to a multiple of the batch size, or a piece of one that was interrupted.

        Where pieces are not too small, an evaluation that is taken up again gives the bits of one that was
        not; see `Pieces`.
        """
        machine, sequence = self._machine, lease.sequence
        start, size = sequence.count, machine.context.batch_tokens
        end = self._pieces.end(start, target)
        last = end == self.total and not self.writing and not self._warms
        started = time.perf_counter()
        mtp = self._mtp
        shown = Shown.NONE if mtp is None or self.writing else mtp.wants(end, self.total)
        self._show(shown)
        try:
            sequence.feed(self._ids[start:end], Rows.LAST if last else Rows.NONE)
            self._pieces.finished(time.perf_counter() - started)
        except Interrupted:
            self._pieces.interrupted(end - start, time.perf_counter() - started)
            raise
        finally:
            seconds = time.perf_counter() - started
            self._prefill_s += seconds
            self._again += max(min(self._reached, sequence.count) - start, 0)
            self._reached = max(self._reached, sequence.count)
        if mtp is not None and shown is Shown.ALL:
            mtp.saw(start, end - start)
        self._uneven = self._uneven or (self._interrupted > 0 and not self._pieces.even(start, end, target))
        machine.figures.read(start, end - start, seconds)
        machine.pool.keep_trunk(lease)
        if self.writing:
            return None
        self._report()
        if end < self.total:
            return None
        if self.total - self._cached >= size:
            machine.figures.foretold(self._forecast_s, self._prefill_s)
        if self._warms:
            return self._finish(Finish.LENGTH)
        return self._choose(machine.context.all_logits(), _NONE)

    def _write(self, lease: Lease, stirred: Callable[[], bool]) -> Done | None:
        """Evaluate the last token, and a draft with it; choose what follows each."""
        sequence, base, size = lease.sequence, self._end, 1
        started = time.perf_counter()
        try:
            draft = self._draft(min(self._answer.left - 1, lease.cells - base))
            if not len(draft) and self._mtp is None:
                return self._write_on(lease, stirred)
            size += len(draft)
            feed = self._ids[base - 1 : base + len(draft)]
            feed[1:] = draft
            self._show(Shown.NONE if self._mtp is None else Shown.CHOSEN)
            sequence.feed(feed, Rows.ALL if len(draft) else Rows.LAST)
            self._steps.finished(time.perf_counter() - started)
            done = self._choose(self._machine.context.all_logits(), draft)
            if self._mtp is not None:
                self._mtp.saw(base - 1, self._end - base)
        except Interrupted:
            self._steps.interrupted(size, time.perf_counter() - started)
            raise
        finally:
            self._decode_s += time.perf_counter() - started
        # Of the draft only what was chosen as well.
        sequence.cut(self._end - 1)
        self._reached = max(self._reached, sequence.count)
        self._machine.figures.wrote(base, self._end - base, time.perf_counter() - started, size)
        return done

    def _write_on(self, lease: Lease, stirred: Callable[[], bool]) -> Done | None:
        """Write token after token, until there is a draft or something else to look at.

        A small model takes a millisecond or two for a token, and whatever runs between two of them finds its
        code and data gone from the processor's caches: so little runs there, and the books are kept once.
        """
        sequence, context, ids, base = lease.sequence, self._machine.context, self._ids, self._end
        # Where cells must be asked for, the next step does.
        last = lease.cells - (SPARE_CELLS if lease.cells < self._cells else 0)
        started = called = time.perf_counter()
        try:
            while True:
                sequence.feed_one(int(ids[self._end - 1]))
                done = self._choose(context.all_logits(), _NONE)
                if done is not None or stirred() or self._end > last:
                    break
                most = min(self._answer.left, last - self._end) if self._speculator is not None else 0
                if most and len(self._draft(most)):
                    break
                before, called = called, time.perf_counter()
                if called - before > SLOW_S or called - started > RUN_S:
                    break
            lost_s = 0.0
            called = time.perf_counter()
        except Interrupted:
            if self._end == base:
                raise
            done, lost_s = None, time.perf_counter() - called
            context.resume()
        finally:
            self._reached = max(self._reached, sequence.count)
        self._steps.finished(called - started)
        self._machine.figures.wrote_singly(base, self._end - base, called - started)
        if lost_s:
            # After what was written: that it got on is no reason to forget the loss.
            self._steps.interrupted(1, lost_s)
        return done

    def _draft(self, most: int) -> Ids:
        if self._speculator is None or most <= 0:
            return _NONE
        most = min(most, self._steps.most - 1)
        if most <= 0:
            return _NONE
        if self._mtp is None or not self._speculator.useful:
            return self._speculator.propose(most)
        return self._mtp.propose(self._ids[: self._end], most, self._speculator)

    def _show(self, states: Shown) -> None:
        if self._machine.mtp is not None:
            self._machine.mtp.head.show(states)

    def _choose(self, rows: Logits, draft: Ids) -> Done | None:
        """Choose a token from each row in turn, as long as the draft had foretold the one before."""
        first = self._end
        finish: Finish | None = None
        for at, row in enumerate(rows):
            token = self._answer.next(row)
            # What was read in a drafted batch stays in the cache: its last bits are in all that follows.
            # Where the model's states are kept, other kernels have led to the first choice too.
            # So it is where interruptions have made small pieces of a prompt.
            drafted = (
                len(draft) or self._drafted or self._uneven or (self._mtp is not None and not self.writing)
            )
            if drafted and self._answer.doubtful(row, token, self._machine.costs.noise_at(self._end)):
                self._near_ties += 1
            self._ids[self._end] = token
            self._end += 1
            finish = self._answer.take(token)
            if finish is None and self._end > self._cells:
                # There is no cell to evaluate it in: the context is full.
                self._answer.flush()
                finish = Finish.LENGTH
            if finish is not None or at == len(draft) or token != draft[at]:
                break
        self._learn(self._ids[first : self._end], draft)
        return None if finish is None else self._finish(finish)

    def _learn(self, chosen: Ids, draft: Ids) -> None:
        costs = self._machine.costs
        if self._speculator is None and self._request.drafts and costs.ratios:
            vocabulary, prompt = self._machine.vocabulary, self._ids[: self.total].copy()
            source = vocabulary.encode([(self._request.source, False)]).ids
            self._speculator = Speculator(costs, prompt, source, vocabulary.marks)
        if self._speculator is None:
            return
        if len(draft):
            size = min(len(chosen), len(draft))
            differing = np.flatnonzero(chosen[:size] != draft[:size])
            accepted = int(differing[0]) if len(differing) else size
            self._speculator.observe(len(draft), accepted)
            self._drafted += len(draft)
            self._accepted += accepted
        self._speculator.append(chosen)
        if self._mtp is not None:
            self._mtp.learn(chosen)

    def _report(self) -> None:
        self._send(Progress(self._request.id, self.done, self.total, self.seconds_left))

    def _finish(self, finish: Finish) -> Done:
        answer = self._answer
        return Done(
            id=self._request.id,
            finish=finish,
            prompt_tokens=self.total,
            cached_tokens=self._cached,
            output_tokens=answer.output_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            prefill_seconds=self._prefill_s,
            decode_seconds=self._decode_s,
            drafted_tokens=self._drafted,
            accepted_tokens=self._accepted,
            mtp_drafted_tokens=self._mtp.drafted if self._mtp is not None else 0,
            mtp_accepted_tokens=self._mtp.accepted if self._mtp is not None else 0,
            interrupted=self._interrupted,
            evaluated_again=self._again,
            restored_tokens=self._restored,
            near_ties=self._near_ties,
        )


_NONE: Ids = np.zeros(0, np.int32)
