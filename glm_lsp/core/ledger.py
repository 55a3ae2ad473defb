"""The ledger of a repository and an engine: what a prompt's trunk says, in the order in which it was said.

An epoch begins with a head (system text, outline, source) that never changes. After it a log only grows:
edits to the files that the prompt has shown or that were visited, as line-anchored hunks, and source that
came to be needed. Replaying the log over the source gives the current text of what is shown, except in the
window in which somebody types: the tail shows that, and its edits enter the log when the window moves away.
So consecutive prompts of an epoch differ in their ends only: an engine evaluates little but what was typed.

A new epoch begins when the log has outgrown its share of the budget, or earlier where that pays: the log,
and what it supersedes, is read with every request, and a new head is evaluated once (`pays`). Where the head
still serves, it stays, and only the log is written anew, with what remains of it (`folded`).

A large budget (`LEAN_TOKENS`) tells files rather than windows: where the trunk shows the code around the
cursor, the tail shows the last lines only, so that a jump costs little (`core.lean`). There a tail stays in
the log when the window moves away, as a question and the beginning of its answer (`left`): what an engine has
read of it is not read again as an edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from glm_lsp.core import layout
from glm_lsp.core.generation import Role, Segment
from glm_lsp.core.hunks import Hunk, hunks, moved_line
from glm_lsp.core.pack import Count
from glm_lsp.core.shown import Ranges, Shown, with_blocks
from glm_lsp.core.shown import outdated as outdated_by
from glm_lsp.core.values import Block, BlockKind, Dropped, Span, Symbol

Definitions = Mapping[str, tuple[Symbol, ...]]
"""Of a file, by qualified name."""
LOG_SHARE = 0.15
TAIL_SHARE = 0.4
LEAN_TOKENS = 8192
"""From this budget on log and tail have the lean shares; the tail has at most `MOST_TAIL_TOKENS`."""
LEAN_LOG_SHARE, LEAN_TAIL_SHARE = 0.3, 0.25
MOST_TAIL_TOKENS = 4096
READING = 0.0005
"""What a token that an engine has evaluated before costs with each request, beside evaluating it."""
IDLE_READING = 0.002
"""The same where nobody waits for the turn."""
TURN_TOKENS = 8
"""At most so many tokens of its own a template has for a turn of somebody's and an answer."""
LEAST_LINES_BEFORE = 4
"""A window with fewer lines before the cursor is placed anew, where there is more to show."""


def log_share(budget_tokens: int) -> int:
    """Tokens of a budget that the log may take."""
    return int(budget_tokens * (LEAN_LOG_SHARE if budget_tokens >= LEAN_TOKENS else LOG_SHARE))


def tail_share(budget_tokens: int) -> int:
    """Tokens of a budget that are kept for the tail."""
    share = LEAN_TAIL_SHARE if budget_tokens >= LEAN_TOKENS else TAIL_SHARE
    return min(int(budget_tokens * share), MOST_TAIL_TOKENS)


@dataclass(frozen=True, slots=True)
class Window:
    """Where somebody types: the tail shows `path` from `start_line` on. `lines` is the file as last seen."""

    path: str
    start_line: int
    cursor_line: int
    lines: tuple[str, ...]
    after: tuple[str, ...] = ()
    """The suffix: the rest of the cursor's line, then so many lines."""
    at: str = ""
    """The tail's title, where that is more than the path."""
    before: str = ""
    """The cursor's line up to the cursor, as the tail shows it."""
    clip: int = 0
    """So many characters of it the tail leaves out, the first ones."""
    replaced: int = 0
    """So many lines as told, from the first one on, are those that the tail shows up to the cursor's."""
    language: str = ""
    name: str = ""
    """The definition around it, where its title says so."""
    again: bool = False
    """Whether the log ends with a place in the same file, so that the title need not name it."""
    turn: bool = False
    """Whether the tail is left standing when somebody goes elsewhere (`left`)."""

    @property
    def last_line(self) -> int:
        """The last line that the tail shows."""
        return self.cursor_line + (len(self.after) - 1 if self.after else layout.SUFFIX_LINES)

    @property
    def tail(self) -> layout.CompletionTail:
        """What an engine has read that was asked at this place."""
        text = "\n".join((*self.lines[self.start_line : self.cursor_line], self.before))
        after = "\n".join(self.after)
        return layout.completion_tail(self.at, self.language, text, after, placed=True)

    def waits(self, hunk: Hunk) -> bool:
        """Whether the tail shows all of a change, so that the log need not tell it yet."""
        if hunk.new_start < self.start_line:
            return False
        end = hunk.new_start + len(hunk.added)
        if self.at:
            return end <= self.cursor_line + 1
        # A line after it that has not changed must be shown too.
        return end <= self.last_line or self.last_line >= len(self.lines) - 1


@dataclass(frozen=True, slots=True)
class Ledger:
    """One epoch up to now. `tracked` holds the lines of each followed file as the trunk tells them."""

    epoch: int
    budget_tokens: int
    head: tuple[Segment, ...]
    head_blocks: tuple[Block, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    log: tuple[Segment, ...] = ()
    log_blocks: tuple[Block, ...] = ()
    tracked: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    outlined: Mapping[str, str] = field(default_factory=dict[str, str])
    """Digest of each outlined file whose signatures the trunk tells as they are; empty: not known."""
    known: Mapping[str, Definitions] = field(default_factory=dict[str, Definitions])
    """What the head's files defined when it was made, as far as that is told of when it changes."""
    hinted: Mapping[str, str] = field(default_factory=dict[str, str])
    """Digest of each outlined file whose new definitions have been told of, as far as that is unasked."""
    window: Window | None = None
    shown: Shown = field(default_factory=dict[str, Ranges])
    """The lines that the trunk tells, as `tracked` numbers them."""
    outdated: Mapping[str, int] = field(default_factory=dict[str, int])
    """So many blocks, the first ones, no longer count for a file."""
    base: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """The files of the head's bodies as they were told there; none where that is not known."""
    superseded: int = 0
    """Tokens of lines told that a later entry of the log removes."""
    log_most: int = 0
    """Tokens that the log may take, where that is set."""
    requests: int = 0
    """How many this epoch has served."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self.head + self.log

    @property
    def head_tokens(self) -> int:
        return sum(s.tokens for s in self.head)

    @property
    def log_tokens(self) -> int:
        return sum(s.tokens for s in self.log) + self.turn_tokens

    @property
    def turn_tokens(self) -> int:
        """What the template adds at most for the log's turns; it is in no segment."""
        return TURN_TOKENS * sum(b.kind is BlockKind.TYPED for b in self.log_blocks)

    @property
    def log_room(self) -> int:
        """Tokens that the log may still take in this epoch; negative: it is over."""
        return (self.log_most or log_share(self.budget_tokens)) - self.log_tokens

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self.head_blocks + self.log_blocks

    def told_of(self, path: str) -> tuple[Block, ...]:
        """The trunk's blocks about a file that are not outdated."""
        blocks = self.blocks
        return tuple(block for block in blocks[self.outdated.get(path, 0) :] if block.path == path)

    def shows(self, path: str, name: str) -> bool:
        """Whether a block of the trunk speaks of this definition."""
        return any(name in block.symbols for block in self.told_of(path))


def begin(
    epoch: int,
    budget_tokens: int,
    system: str,
    *,
    blocks: Sequence[Block],
    files: Mapping[str, tuple[str, ...]],
    count: Count,
    dropped: Iterable[Dropped] = (),
) -> Ledger:
    """The first state of an epoch. `blocks` are outlines and bodies; `files` holds the bodies' files."""
    skeleton = [b.text for b in blocks if b.kind is BlockKind.SKELETON]
    source = [b.text for b in blocks if b.kind is BlockKind.BODY]
    texts = layout.context_texts(skeleton, source, ())
    head = [Segment(Role.SYSTEM, system, count(system))]
    head += [Segment(Role.USER, text, count(text)) for text in texts]
    tracked = {b.path: files[b.path] for b in blocks if b.kind is BlockKind.BODY}
    return Ledger(
        epoch,
        budget_tokens,
        tuple(head),
        tuple(blocks),
        tuple(dropped),
        tracked=tracked,
        shown=with_blocks({}, blocks),
        base=tracked,
    )


def folded(ledger: Ledger, epoch: int) -> Ledger | None:
    """The epoch's head without its log: what has changed since then is to be told again, in one piece.

    None where the head's files as it told them are not known.
    """
    if any(b.path not in ledger.base for b in ledger.head_blocks if b.kind is BlockKind.BODY):
        return None
    outlined = {b.path: "" for b in ledger.head_blocks if b.kind is BlockKind.SKELETON}
    return Ledger(
        epoch,
        ledger.budget_tokens,
        ledger.head,
        ledger.head_blocks,
        ledger.dropped,
        tracked=ledger.base,
        outlined=outlined,
        known=ledger.known,
        shown=with_blocks({}, ledger.head_blocks),
        base=ledger.base,
        log_most=ledger.log_most,
    )


def evaluated(new: Ledger, old: Ledger) -> int:
    """Tokens of `new` that an engine reads which has read `old` and its tail."""
    same, before = 0, left(old, lambda _: 0).segments
    for n, segment in enumerate(new.segments):
        if n >= len(before) or before[n].text != segment.text:
            break
        same += segment.tokens
    return sum(s.tokens for s in new.segments) - same


def pays(ledger: Ledger, idle: bool = False) -> bool:
    """Whether a new head costs less than going on with this log, for as many requests as there have been."""
    waste = (ledger.log_tokens + ledger.superseded) * ledger.requests
    return waste * (IDLE_READING if idle else READING) > ledger.head_tokens


def with_log(ledger: Ledger, blocks: Sequence[Block], count: Count) -> Ledger:
    """Append blocks to the log, under its title where they are its first."""
    if not blocks:
        return ledger
    # No title above a tail that an engine has read without one.
    bare = ledger.log or any(block.kind is BlockKind.TYPED for block in blocks[:2])
    titled = () if bare else (Segment(Role.USER, layout.LOG_TITLE, count(layout.LOG_TITLE)),)
    new = tuple(chain.from_iterable(_segments(block, count) for block in blocks))
    told = len(ledger.head_blocks) + len(ledger.log_blocks)
    outdated = {path: told + number for path, number in outdated_by(blocks).items()}
    return replace(
        ledger,
        log=ledger.log + titled + new,
        log_blocks=ledger.log_blocks + tuple(blocks),
        shown=with_blocks(ledger.shown, blocks),
        outdated={**ledger.outdated, **outdated} if outdated else ledger.outdated,
    )


def _segments(block: Block, count: Count) -> tuple[Segment, ...]:
    if block.kind is not BlockKind.TYPED:
        return (Segment(Role.USER, block.text, block.tokens),)
    return tuple(Segment(Role.ASSISTANT, text, count(text)) for text in layout.typed_parts(block.text))


def with_source(ledger: Ledger, block: Block, lines: tuple[str, ...], count: Count) -> Ledger:
    """Append a definition's source that came to be needed; from now on its file is followed."""
    ledger = with_log(ledger, [replace(block, kind=BlockKind.LOG)], count)
    return replace(ledger, tracked={**ledger.tracked, block.path: ledger.tracked.get(block.path, lines)})


def follow(ledger: Ledger, path: str, lines: tuple[str, ...]) -> Ledger:
    """Log a file's edits from now on, whether or not something of it is shown."""
    if path in ledger.tracked:
        return ledger
    return replace(ledger, tracked={**ledger.tracked, path: lines})


def with_edits(
    ledger: Ledger,
    path: str,
    lines: tuple[str, ...],
    count: Count,
    *,
    typing: bool = False,
    most: int | None = None,
) -> Ledger:
    """Log what changed in a followed file since the trunk last spoke of it.

    With `typing`, changes that the window shows whole wait there. Hunks are logged from the file's end to its
    start, so that the line numbers of each are true when it is read after those before it. Where they have
    more than `most` tokens, the file is not followed any more (`without`).
    """
    told = ledger.tracked.get(path)
    if told is None or told is lines:
        return ledger
    if told == lines:
        # The same lines the next time: then nothing need be compared.
        return replace(ledger, tracked={**ledger.tracked, path: lines})
    window = ledger.window if typing and ledger.window and ledger.window.path == path else None
    blocks: list[Block] = []
    now = list(told)
    superseded = ledger.superseded
    for hunk in reversed(hunks(told, lines)):
        if window and window.waits(hunk):
            continue
        if hunk.removed:
            superseded += count("\n".join(told[hunk.start : hunk.start + hunk.removed]))
        now[hunk.start : hunk.start + hunk.removed] = hunk.added
        text = layout.log_entry(path, hunk.start, hunk.removed, "".join(f"{line}\n" for line in hunk.added))
        end = max(hunk.start, hunk.start + len(hunk.added) - 1)
        blocks.append(
            Block(
                BlockKind.LOG,
                path,
                Span(0, 0),
                text,
                count(text),
                0.0,
                hunk.start,
                end,
                (),
                "edited since then",
            )
        )
    if not blocks:
        return ledger
    if most is not None and sum(block.tokens for block in blocks) > most:
        return without(ledger, path, count)
    tracked = {**ledger.tracked, path: tuple(now)}
    return replace(with_log(ledger, blocks, count), tracked=tracked, superseded=superseded)


def without(ledger: Ledger, path: str, count: Count) -> Ledger:
    """The ledger that has said that what it told of a file is outdated, where it has told something."""
    tracked = {p: lines for p, lines in ledger.tracked.items() if p != path}
    outlined = {p: digest for p, digest in ledger.outlined.items() if p != path}
    if path in ledger.known:
        outlined[path] = ""
    if ledger.told_of(path):
        text = layout.outdated(path)
        block = Block(BlockKind.LOG, path, Span(0, 0), text, count(text), reason="changed in many places")
        ledger = with_log(ledger, [block], count)
    return replace(ledger, tracked=tracked, outlined=outlined)


def left(ledger: Ledger, count: Count) -> Ledger:
    """The ledger without its window, whose tail stays in the log where it tells of changes.

    An engine has read it as it stands, so that neither what was typed nor its place is read again.
    """
    window = ledger.window
    told = ledger.tracked.get(window.path) if window else None
    bare = replace(ledger, window=None)
    if window is None or not window.turn or told is None or told == window.lines:
        return bare
    if window.before + window.after[0] != window.lines[window.cursor_line]:
        return bare  # a line so long that the tail shows only a part of it
    tail, first, last = window.tail, window.start_line, window.cursor_line
    said = layout.typed_block(tail)
    place = Block(
        BlockKind.LOG, window.path, Span(0, 0), tail.instruction, count(tail.instruction), 0.0, first, last
    )
    tokens = sum(map(count, layout.typed_parts(said)))
    typed = replace(place, kind=BlockKind.TYPED, text=said, tokens=tokens)
    superseded = count("\n".join(told[first : first + window.replaced]))
    tracked = {**ledger.tracked, window.path: window.lines}
    blocks = [replace(b, reason="typed before") for b in (place, typed)]
    return replace(with_log(bare, blocks, count), tracked=tracked, superseded=ledger.superseded + superseded)


def place_window(
    ledger: Ledger,
    path: str,
    lines: tuple[str, ...],
    *,
    starts: Sequence[int],
    cursor_line: int,
    most_lines: int,
    fits: Callable[[int], bool],
) -> Ledger:
    """Keep the window where it starts as long as it serves, else start it at a definition.

    `starts` are the first lines of definitions, ascending; `fits(line)` says whether a window from that line
    on leaves the tail within its room. It starts anew when the cursor is in another file, above it or more
    than `most_lines` below its start, when it no longer fits, or when it shows almost nothing before the
    cursor.
    """
    old = ledger.window
    if old is not None and old.path == path:
        start = old.start_line if old.lines == lines else moved_line(old.start_line, old.lines, lines)
        before = cursor_line - start
        if (
            (before >= LEAST_LINES_BEFORE or (start == 0 and before >= 0))
            and before <= most_lines
            and fits(start)
        ):
            return replace(ledger, window=Window(path, start, cursor_line, lines))
    back = most_lines // 2
    start = anchor(lines, starts, cursor_line, back)
    while not fits(start) and start < cursor_line:
        back //= 2
        start = max(start + 1, anchor(lines, starts, cursor_line, back))
    return replace(ledger, window=Window(path, start, cursor_line, lines))


def anchor(lines: Sequence[str], starts: Sequence[int], cursor_line: int, back: int) -> int:
    """The first line of a window: at most `back` lines above the cursor, at a definition if there is one."""
    if cursor_line <= back:
        return 0
    within = [start for start in starts if cursor_line - back <= start <= cursor_line - LEAST_LINES_BEFORE]
    if within:
        return within[0]
    start = max(0, cursor_line - back)
    blank = next((n for n in range(start, cursor_line - back // 2) if not lines[n].strip()), start - 1)
    return blank + 1
