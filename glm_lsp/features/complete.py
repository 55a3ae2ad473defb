"""Completion at a cursor: what to ask, and what of the answer to offer.

The prompt is the session's trunk and a tail that shows the code after the cursor, then the code before it as
the beginning of the answer, so that typing only appends. The answer is filtered while it arrives: as soon as
nothing that may follow can change what is offered, the engine is stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from glm_lsp.core import layout, pack, runs, trim
from glm_lsp.core.errors import NOTICES, BudgetError, EngineDied, PolicyError, PromptTooLong
from glm_lsp.core.gap import Gap
from glm_lsp.core.generation import (
    Finish,
    Form,
    GenerateRequest,
    Prompt,
    Role,
    Segment,
    Thinking,
    Usage,
    Work,
)
from glm_lsp.core.layout import CompletionTail
from glm_lsp.core.secrets import MARKER, being_typed
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.values import Block, BlockKind, Budget, Document, Span, Suggestion
from glm_lsp.features import manner
from glm_lsp.features.session import Session, Trunk, check_offset

FIM_SUFFIX_LINES = 3
"""There the suffix stands after the code before the cursor, and is evaluated with every request."""
LARGER_TITLE = 4
"""Tokens by which a title grows where a window begins later."""
_notices = logging.getLogger(NOTICES)


@dataclass(frozen=True, slots=True)
class Completion:
    """What came of a request. `reason` says why there is no suggestion; empty where there is one."""

    suggestion: Suggestion | None
    prompt: Prompt
    usage: Usage | None
    reason: str = ""


def unheard(text: str) -> None:
    """For those who want an answer only when it is whole."""


async def suggest(
    session: Session,
    snapshot: Snapshot,
    path: str,
    offset: int,
    *,
    attempt: int = 0,
    hear: Callable[[str], None] = unheard,
) -> Completion:
    """Text to insert at byte `offset` of `path`, with the file's own line ends.

    From the second `attempt` on another answer is drawn. `hear` is told the text as far as it has come; what
    is offered in the end may be less of it. Raises UsageError, PolicyError and BudgetError as
    `Session.gather` does, and whatever the engine raises.
    """
    thinking, budget = mode(snapshot), _budget(session, snapshot)
    cursor = await _open(session, snapshot, path, offset, thinking)
    cursor.attempt = attempt
    if reason := being_typed(cursor.document, cursor.offset):
        return Completion(None, Prompt((), 0), None, reason)
    prompt = await cursor.prompt(session.budget_tokens(snapshot, budget))
    crlf = b"\r\n" in cursor.document.data

    def heard(answer: str, gap: Gap) -> None:
        text = trim.begun(answer, gap)
        hear(text.replace("\n", "\r\n") if crlf else text)

    request, gap = _asked(session, snapshot, cursor, prompt, budget)
    try:
        answer, usage, ended = await _heard(session, request, gap, heard)
    except PromptTooLong as error:
        _notices.warning("The prompt was too long for the engine, and is made smaller: %s", error)
        session.shrink(prompt, error, budget.reply_tokens + budget.reasoning_tokens)
        prompt = await cursor.prompt(session.budget_tokens(snapshot, budget))
        request, gap = _asked(session, snapshot, cursor, prompt, budget)
        answer, usage, ended = await _heard(session, request, gap, heard)
    text = trim.trim(answer, gap, ended=ended)
    if not text:
        reason = (
            "The answer was empty." if not answer.strip() else "Nothing of the answer passed the filters."
        )
        return Completion(None, prompt, usage, reason)
    if MARKER.search(text):
        return Completion(None, prompt, usage, "The answer repeats the marker of a held-back secret.")
    if crlf:
        text = text.replace("\n", "\r\n")
    return Completion(Suggestion(Span(cursor.offset, cursor.offset), text), prompt, usage)


def _asked(
    session: Session, snapshot: Snapshot, cursor: _Cursor, prompt: Prompt, budget: Budget
) -> tuple[GenerateRequest, Gap]:
    """What is asked of the engine with this prompt, and the gap that the answer is to fill."""
    lines = session.profile.completion_lines if snapshot.settings.flag("completion.multiline") else 1
    stops = [cursor.stop] if prompt.form is Form.CHAT and prompt.prefill else []
    stops += ["\n"] if lines == 1 and prompt.prefill else []
    request = GenerateRequest(
        prompt=prompt,
        max_tokens=budget.reply_tokens,
        thinking=cursor.thinking,
        reasoning_tokens=budget.reasoning_tokens,
        stop=tuple(stops),
        heal=bool(prompt.prefill),
        work=Work.TYPING,
    )
    gap = Gap(
        before="\n".join(cursor.before),
        after="\n".join(cursor.after),
        language=cursor.document.language,
        most_lines=lines,
        prefilled=bool(prompt.prefill),
        fence=cursor.stop if prompt.form is Form.CHAT else "",
    )
    return manner.drawn(request, snapshot.settings, cursor.attempt), gap


async def pack_context(
    session: Session,
    snapshot: Snapshot,
    path: str,
    offset: int,
    budget_tokens: int = 0,
    *,
    idle: bool = False,
) -> Prompt:
    """The prompt that a completion at byte `offset` of `path` would send within `budget_tokens`.

    With 0, exactly the one that `suggest` would send. `idle`: nobody waits, so this is when an epoch may turn
    that is about to. Raises PolicyError where a secret is being typed.
    """
    thinking = Thinking.OFF if budget_tokens else mode(snapshot)
    cursor = await _open(session, snapshot, path, offset, thinking)
    if reason := being_typed(cursor.document, cursor.offset):
        raise PolicyError(f"{path}: {reason}")
    budget = budget_tokens or session.budget_tokens(snapshot, _budget(session, snapshot))
    return await cursor.prompt(budget, idle=idle)


def mode(snapshot: Snapshot) -> Thinking:
    """Whether completions think."""
    return manner.mode(snapshot.settings, Work.TYPING)


def _budget(session: Session, snapshot: Snapshot) -> Budget:
    settings = snapshot.settings
    return manner.budget(session, settings, Work.TYPING, settings.integer("completion.max_tokens"))


_Heard = Callable[[str, Gap], None]


async def _heard(
    session: Session, request: GenerateRequest, gap: Gap, hear: _Heard
) -> tuple[str, Usage | None, bool]:
    """As `_answer`; an engine that dies in the middle is asked once more."""
    try:
        return await _answer(session, request, gap, hear)
    except EngineDied as error:
        return await manner.once_more(error, _answer(session, request, gap, hear))


async def _answer(
    session: Session, request: GenerateRequest, gap: Gap, hear: _Heard
) -> tuple[str, Usage | None, bool]:
    """The answer as far as it matters, what the engine has said of its cost by then, and whether it ended.

    Leaving the stream early stops the engine.
    """
    answer = ""
    usage: Usage | None = None
    ended = False
    async with aclosing(session.engine.generate(request)) as stream:
        async for chunk in stream:
            answer += chunk.text
            if chunk.text:
                hear(answer, gap)
            usage = chunk.usage or usage
            ended = chunk.finish is Finish.STOP
            heard = chunk.text and (runs.stuck(answer) or trim.finished(answer, gap))
            if heard or chunk.finish is not None:
                break
    if session.tokenizer.exact and (usage is None or usage.output_tokens is None):
        usage = replace(usage or Usage(), output_tokens=session.count(answer))  # it was not heard to its end
    return answer, usage, ended


async def _open(session: Session, snapshot: Snapshot, path: str, offset: int, thinking: Thinking) -> _Cursor:
    document = await session.document(snapshot, path)
    check_offset(document, offset)
    if 0 < offset < len(document.data) and document.data[offset - 1 : offset + 1] == b"\r\n":
        offset -= 1
    return _Cursor(session, snapshot, document, offset, thinking)


class _Cursor:
    """A place in a document, and the prompt for it."""

    def __init__(
        self, session: Session, snapshot: Snapshot, document: Document, offset: int, thinking: Thinking
    ) -> None:
        self.session, self.snapshot, self.document, self.offset = session, snapshot, document, offset
        self.before = pack.lines_of(document.data[:offset])
        self.after = pack.lines_of(document.data[offset:])
        facts = session.engine.facts
        wanted = snapshot.settings.text("completion.form") or session.profile.completion_form
        self.fim = wanted == Form.FIM and facts.fim and thinking is Thinking.OFF
        self.prefill = facts.prefill and thinking is Thinking.OFF
        self.thinking = thinking
        self.attempt = 0
        self.shown = self.after
        """What may be shown of it."""
        self.clipped = ""
        """What is shown of a line before the cursor that is too long to be shown whole."""
        self.place = ""
        """The tail's title, where that is more than the path."""
        self.stop = self._tail(len(self.before) - 1, 0).stop

    @property
    def line(self) -> int:
        return len(self.before) - 1

    async def prompt(self, budget_tokens: int, *, idle: bool = False) -> Prompt:
        """Trunk and tail within the budget. Raises BudgetError where the cursor's line does not fit."""

        def fits(start: int, room: int) -> bool:
            return self._tokens(start, layout.SUFFIX_LINES) <= room

        trunk = await self.session.gather_typing(
            self.snapshot,
            self.document,
            self.offset,
            budget_tokens,
            fits,
            turns=self.prefill and not self.fim,
            idle=idle,
        )
        self.place = trunk.place
        if not self.fim:
            self.shown, self.clipped = trunk.after or self.after, trunk.before
        start, suffix_lines = self._fitted(trunk)
        if self.place and start != trunk.window_start:
            self.place = layout.place_of(self.document.path, start)
        return self._joined(trunk, start, suffix_lines)

    def _fitted(self, trunk: Trunk) -> tuple[int, int]:
        """First line of the window and number of suffix lines: the window shrinks first, then the suffix."""
        most = self.line - trunk.window_start
        wanted = FIM_SUFFIX_LINES if self.fim else trunk.suffix_lines
        room = trunk.room - (LARGER_TITLE if self.place else 0)
        for suffix_lines in (wanted, wanted // 3, min(wanted, 1), 0):
            shown = self._most(most, suffix_lines, room)
            if shown >= 0:
                return self.line - shown, suffix_lines
        remedy = self.session.raise_what(self.snapshot, trunk.budget_tokens)
        remedy = manner.remedy(remedy, self.thinking)
        needed = trunk.tokens + self._tokens(self.line, 0)
        raise BudgetError(
            f"Line {self.line + 1} of {self.document.path} does not fit: with what must stand around it the "
            f"prompt has {needed} tokens, and the budget is {trunk.budget_tokens}; {remedy}."
        )

    def _most(self, most: int, suffix_lines: int, room: int) -> int:
        return pack.most_that_fits(most, lambda n: self._tokens(self.line - n, suffix_lines) <= room)

    def _texts(self, start: int, suffix_lines: int) -> tuple[str, str]:
        """The window from line `start` on, and the suffix."""
        suffix = "\n".join(self.shown[: suffix_lines + 1]) if suffix_lines else ""
        last = (self.clipped,) if self.clipped else self.before[self.line :]
        return "\n".join((*self.before[start : self.line], *last)), suffix

    def _tail(self, start: int, suffix_lines: int) -> CompletionTail:
        window, suffix = self._texts(start, suffix_lines)
        title, language = self.place or self.document.path, self.document.language
        if self.prefill:
            return layout.completion_tail(title, language, window, suffix, placed=bool(self.place))
        return layout.gap_tail(title, language, window, suffix)

    def _tokens(self, start: int, suffix_lines: int) -> int:
        count = self.session.count
        if self.fim:
            return sum(count(text) for text in self._texts(start, suffix_lines) if text)
        tail = self._tail(start, suffix_lines)
        return count(tail.instruction) + (count(tail.prefill) if tail.prefill else 0)

    def _joined(self, trunk: Trunk, start: int, suffix_lines: int) -> Prompt:
        count, segments = self.session.count, list(trunk.segments)
        window, suffix = self._texts(start, suffix_lines)
        tail = self._tail(start, suffix_lines)
        parts = ((Role.ASSISTANT, window),) if self.fim else (
            (Role.USER, tail.instruction),
            (Role.ASSISTANT, tail.prefill),
        )  # fmt: skip
        segments += [Segment(role, text, count(text)) for role, text in parts if text]
        tail_block = Block(
            kind=BlockKind.TAIL,
            path=self.document.path,
            span=Span(min(pack.line_offset(self.document.data, start), self.offset), self.offset),
            text="".join(text for _, text in parts),
            tokens=self._tokens(start, suffix_lines),
            start_line=start,
            end_line=min(self.line + suffix_lines, self.line + len(self.after) - 1),
            reason="around the cursor",
        )
        prompt = Prompt(
            segments=tuple(segments),
            tokens=0,
            blocks=(*trunk.blocks, tail_block),
            dropped=trunk.dropped,
            form=Form.FIM if self.fim else Form.CHAT,
            suffix=suffix if self.fim else "",
            budget_tokens=trunk.budget_tokens,
            trunk_segments=len(trunk.segments),
        )
        template = self.session.profile.template
        return replace(prompt, tokens=pack.prompt_tokens(prompt, count, self.thinking, template))
