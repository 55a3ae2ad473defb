"""What an answer is made of: tokens chosen from logits, text and reasoning sent, and where it ends.

Nothing here knows of the KV cache: tokens come one after another, whether they were drafted or not.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

from glm_lsp.core.errors import ConfigError, UsageError
from glm_lsp.core.generation import Finish
from glm_lsp.engines.frames import Generate, Reply, Text
from glm_lsp.engines.stops import StopMatcher
from glm_lsp.engines.worker import gbnf
from glm_lsp.engines.worker.grammar import Grammar
from glm_lsp.engines.worker.llama import Logits
from glm_lsp.engines.worker.model import Model
from glm_lsp.engines.worker.sampling import Chooser, near_tie
from glm_lsp.engines.worker.vocabulary import EncodedPrompt, Vocabulary


class Answer:
    """The answer to one request so far. Raises UsageError for a grammar or sampling that cannot be."""

    def __init__(
        self,
        model: Model,
        vocabulary: Vocabulary,
        request: Generate,
        prompt: EncodedPrompt,
        send: Callable[[Reply], None],
    ) -> None:
        self.output_tokens = 0
        """Chosen by the model, reasoning included, the end token not."""
        self.reasoning_tokens = 0
        self._request = request
        self._vocabulary = vocabulary
        self._send = send
        self._heal = prompt.removed.encode()
        self._chooser = Chooser(request.temperature, request.top_p, request.seed)
        self._text = _TextStream(request.stop)
        self._reasoning = codecs.getincrementaldecoder("utf-8")("replace")
        self._answer_tokens = 0
        self._thinking = request.thinking and int(prompt.ids[-1]) == vocabulary.think
        self._grammar = _grammar(model, request, prompt.removed)
        self._marks = frozenset({*vocabulary.last, vocabulary.think, vocabulary.think_end})
        self._free = False
        """The next token may be any, and is text."""
        self._gathered: list[str] = []
        """Text that is not sent yet."""

    @property
    def left(self) -> int:
        """At most so many tokens may still come."""
        left = max(self._request.max_tokens - self._answer_tokens, 0) + len(self._heal)
        if not self._thinking:
            return left
        # One for the end of the reasoning.
        return left + max(self._request.reasoning_tokens - self.reasoning_tokens, 0) + 1

    def next(self, logits: Logits) -> int:
        """Choose the token that follows."""
        if self._free:
            self.output_tokens += 1
            return self._chooser.choose(logits)
        if self._thinking and self.reasoning_tokens >= self._request.reasoning_tokens:
            return self._think_end()
        if self._thinking:
            token = self._chooser.choose(logits)
            if self._grammar is not None and token in self._vocabulary.last:
                # Nothing has been answered yet, and the request says what an answer is.
                return self._think_end()
            self.output_tokens += 1
            return token
        self.output_tokens += 1
        if self._grammar is not None:
            return self._chooser.within(logits, self._grammar, self._vocabulary.outside_grammars)
        if self._heal:
            return self._chooser.among(logits, self._vocabulary.continuing(self._heal))
        return self._chooser.choose(logits)

    def doubtful(self, logits: Logits, token: int, noise: float) -> bool:
        """Whether this greedy choice might have been another in a batch of another size."""
        rules = None if self._thinking else self._grammar
        return self._chooser.greedy and near_tie(logits, token, noise, rules)

    def take(self, token: int) -> Finish | None:
        """Add what `next` has chosen; how the answer ends, if it does."""
        if self._free and token not in self._marks:
            return self._take_text(token)
        vocabulary = self._vocabulary
        if token in vocabulary.last:
            self.output_tokens -= 1
            self.flush()
            return Finish.STOP
        if token in (vocabulary.think, vocabulary.think_end):
            # Counted as answer, so that a model that thinks again and again comes to an end.
            self._answer_tokens += not self._thinking
            self._thinking = token == vocabulary.think
            self._text.after_reasoning = not self._thinking
        elif self._thinking:
            self._reason(token)
        elif self._write(token):
            return Finish.STOP
        self._free = not self._thinking and not self._heal and self._grammar is None
        if self.left:
            return None
        self.flush()
        return Finish.LENGTH

    def _take_text(self, token: int) -> Finish | None:
        """As `take` where nothing but text can come: the way of most tokens, and a short one."""
        self._answer_tokens += 1
        if text := self._text.feed(self._vocabulary.piece(token)):
            self._gathered.append(text)
        if self._text.stopped:
            return Finish.STOP
        if self._answer_tokens < self._request.max_tokens:
            return None
        self.flush()
        return Finish.LENGTH

    def flush(self) -> None:
        """Give out what was held back for a stop string. A character that was not completed is dropped."""
        if text := self._text.finish():
            self._gathered.append(text)

    def send(self) -> None:
        """Send the text since the last time."""
        if self._gathered:
            self._send(Text(self._request.id, "".join(self._gathered)))
            self._gathered.clear()

    def close(self) -> None:
        """Free the grammar; again is no harm."""
        if self._grammar is not None:
            self._grammar.close()
            self._grammar = None

    def _think_end(self) -> int:
        """The budget is spent: close the reasoning for the model, which then answers with what it has."""
        if self._vocabulary.think_end < 0:
            raise ConfigError("The model file has no token '</think>', so its reasoning cannot be bounded.")
        return self._vocabulary.think_end

    def _reason(self, token: int) -> None:
        self.reasoning_tokens += 1
        if text := self._reasoning.decode(self._vocabulary.piece(token)):
            self.send()
            self._send(Text(self._request.id, reasoning=text))

    def _write(self, token: int) -> bool:
        """Add a token to the answer; true if that completed a stop string."""
        if self._grammar is not None:
            self._grammar.accept(token)
        data = self._vocabulary.piece(token)
        healed = min(len(self._heal), len(data))
        self._heal = self._heal[healed:]
        # What only rewrites the removed text is no part of the answer's length.
        self._answer_tokens += 1 if len(data) > healed or not healed else 0
        if text := self._text.feed(data[healed:]):
            self._gathered.append(text)
        return bool(self._text.stopped)


def _grammar(model: Model, request: Generate, removed: str) -> Grammar | None:
    """The request's grammar; where a word is healed it must first write what was removed."""
    if request.grammar and request.schema:
        raise UsageError("A request has a grammar or a JSON schema, not both.")
    text = gbnf.of_schema(request.schema) if request.schema else request.grammar
    if not text:
        return None
    if not removed:
        return Grammar(model, text)
    return Grammar(model, f"{text}\nhealed-root ::= {gbnf.literal(removed)} root\n", "healed-root")


class _TextStream:
    """Bytes in, text out: whole characters only, and nothing from the first stop string on."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = False
        """The decoder holds the beginning of a character."""
        self._stops = StopMatcher(stops)
        self.after_reasoning = False
        """The template puts line breaks between reasoning and answer; they belong to neither."""

    @property
    def stopped(self) -> str:
        return self._stops.hit

    def feed(self, data: bytes) -> str:
        if data.isascii() and not self._partial:
            text = data.decode("ascii")
        else:
            text = self._decoder.decode(data)
            self._partial = bool(self._decoder.getstate()[0])
        if self.after_reasoning:
            text = text.lstrip("\n")
            self.after_reasoning = not text
        return self._stops.feed(text)

    def finish(self) -> str:
        return self._stops.flush()
