"""Count tokens in the caller's process, without weights and without llama.cpp.

`GgufTokenizer` is built from a model file's own vocabulary and equals llama.cpp's, except that the text of a
special token is never taken for the token itself, not even for those that a file declares as ordinary
additions: text of a repository cannot forge structure. `from_file` takes a `tokenizer.json` as well.
`ApproximateTokenizer` (see `bounds`) is for engines that do not say.
"""

from __future__ import annotations

import importlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec

from glm_lsp.core.errors import ModelFileError, UsageError
from glm_lsp.core.generation import Tokenizer
from glm_lsp.engines.bounds import ApproximateTokenizer
from glm_lsp.engines.gguf import GgufHead, read_head, unusable
from glm_lsp.engines.pretypes import LINES, PRE_TYPES, PreType, alphabet

__all__ = ["PRE_TYPES", "ApproximateTokenizer", "BpeTokenizer", "GgufTokenizer", "from_file"]

NORMAL = 1
"""Token type of what the merges make; all others are special tokens or the file's own additions."""
_KEPT_CHARS = 32 << 20
"""Of texts whose counts are remembered."""
_LARGEST_JSON = 128 << 20


def from_file(path: str | Path) -> BpeTokenizer:
    """The tokenizer in a GGUF file (one with a vocabulary only will do) or a Hugging Face `tokenizer.json`.

    Raises UsageError, a sentence that says what is wrong with the file.
    """
    path = Path(path)
    if why := unusable(path):
        raise UsageError(f"The tokenizer file {path} {why}; name a GGUF file or a tokenizer.json.")
    try:
        with path.open("rb") as file:
            start = file.read(64)
        if start.startswith(b"GGUF"):
            return GgufTokenizer(path)
        if not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            raise UsageError(
                f"The tokenizer file {path} is neither a GGUF file nor a tokenizer.json; name one of these."
            )
        if path.stat().st_size > _LARGEST_JSON:
            raise UsageError(f"The tokenizer file {path} is larger than {_LARGEST_JSON >> 20} MiB.")
        return _from_json(path, path.read_bytes())
    except OSError as error:
        raise UsageError(f"The tokenizer file {path} cannot be read: {error.strerror or error}.") from error
    except ModelFileError as error:
        raise UsageError(str(error)) from error


class BpeTokenizer(Tokenizer):
    """A byte-level BPE vocabulary, safe for several threads. No text is ever taken for a special token."""

    def __init__(self, bpe: Any, *, by_line: bool = False) -> None:
        self._bpe = bpe
        self._by_line = by_line
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._chars = 0
        self._lock = threading.Lock()

    @property
    def exact(self) -> bool:
        return True

    def count(self, text: str) -> int:
        """Tokens of `text`. What has been counted is remembered, by text and by line."""
        with self._lock:
            if text in self._counts:
                self._counts.move_to_end(text)
                return self._counts[text]
        count = sum(map(self._counted, LINES.split(text))) if self._by_line else self._counted(text)
        self._keep(text, count)
        return count

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text`, special tokens not recognised."""
        return cast("list[int]", self._encoding(text).ids)

    def pieces(self, text: str) -> list[bytes]:
        """Return the bytes of each token of `text`; joined they are its UTF-8."""
        return [self._bytes_of(token) for token in cast("list[str]", self._encoding(text).tokens)]

    def split_word(self, text: str) -> tuple[list[int], str]:
        """Return the ids of `text` without its last word, and that word. Merges never cross words."""
        encoding = self._encoding(text)
        ids, words = cast("list[int]", encoding.ids), cast("list[int | None]", encoding.word_ids)
        if not ids:
            return [], ""
        before = words.index(words[-1])
        return ids[:before], text[int(encoding.offsets[before][0]) :]

    def _counted(self, text: str) -> int:
        # No lock: a dictionary is read whole, and what is missing is only counted once more.
        count = self._counts.get(text)
        if count is None:
            count = len(self.encode(text))
            self._keep(text, count)
        return count

    def _keep(self, text: str, count: int) -> None:
        with self._lock:
            if text not in self._counts:
                self._chars += len(text)
            self._counts[text] = count
            while self._chars > _KEPT_CHARS:
                self._chars -= len(self._counts.popitem(last=False)[0])

    def _encoding(self, text: str) -> Any:
        try:
            return self._bpe.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):  # half a pair: no text that can be sent holds one
            whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return self._bpe.encode(whole, add_special_tokens=False)

    @cached_property
    def _letters(self) -> dict[str, int]:
        """The byte that each letter of a byte-level vocabulary stands for."""
        return {letter: byte for byte, letter in enumerate(alphabet())}

    def _bytes_of(self, token: str) -> bytes:
        return bytes(self._letters[letter] for letter in token)


class GgufTokenizer(BpeTokenizer):
    """The tokenizer of a model file. Raises ModelFileError if it cannot be built.

    Building it takes about a second of processor time for a vocabulary of 155,000: do it in a thread.
    """

    def __init__(self, path: str | Path) -> None:
        head = read_head(Path(path))
        kind = _kind(head)
        super().__init__(_build(head, kind), by_line=True)
        texts = head.texts("tokenizer.ggml.tokens")
        types = head.integers("tokenizer.ggml.token_type")
        self.size = len(texts)
        self.special = {t: i for i, t in enumerate(texts) if i < len(types) and types[i] != NORMAL}
        """Ids of the tokens that text never becomes, by their text."""


def _kind(head: GgufHead) -> PreType:
    model, pre = head.text("tokenizer.ggml.model"), head.text("tokenizer.ggml.pre")
    if not model and not head.texts("tokenizer.ggml.tokens"):
        raise ModelFileError(f"The model file {head.path} holds no vocabulary; name the model's first part.")
    if model != "gpt2" or pre not in PRE_TYPES:
        raise ModelFileError(
            f"The model file {head.path} has a tokenizer of kind '{model}' with pre-tokenizer '{pre}'; "
            f"known are byte-level BPE ('gpt2') with {', '.join(PRE_TYPES)}."
        )
    return PRE_TYPES[pre]


def _build(head: GgufHead, kind: PreType) -> Any:
    texts = head.texts("tokenizer.ggml.tokens")
    types = head.integers("tokenizer.ggml.token_type")
    if not texts or len(types) != len(texts):
        raise ModelFileError(f"The model file {head.path} has no usable vocabulary; fetch it again.")
    vocabulary = {t: i for i, t in enumerate(texts) if types[i] == NORMAL}
    merges = [_halves(m) for m in head.texts("tokenizer.ggml.merges")]
    if missing := _missing(vocabulary):
        raise ModelFileError(f"The vocabulary of {head.path} lacks {missing} of the 243 bytes of UTF-8.")
    cutters: Any = _library().pre_tokenizers
    words = [cutters.Split(_library().Regex(pattern), behavior="isolated") for pattern in kind.patterns]
    as_bytes = cutters.ByteLevel(add_prefix_space=False, use_regex=False)
    return _assembled(vocabulary, merges, [*words, as_bytes], ignore_merges=kind.ignore_merges)


def _assembled(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], cutters: list[Any], *, ignore_merges: bool
) -> Any:
    """The library's tokenizer, with those merges that it can do."""
    library = _library()
    known = [m for m in merges if m[0] in vocabulary and m[1] in vocabulary and m[0] + m[1] in vocabulary]
    bpe = library.Tokenizer(library.models.BPE(vocab=vocabulary, merges=known, ignore_merges=ignore_merges))
    bpe.pre_tokenizer = library.pre_tokenizers.Sequence(cutters)
    return bpe


class _Cutter(msgspec.Struct):
    """One step of cutting text into words, as a tokenizer.json writes it."""

    type: str = ""
    pretokenizers: list[_Cutter] = []
    pattern: dict[str, str] = {}
    behavior: str = ""
    invert: bool = False
    individual_digits: bool = False
    add_prefix_space: bool = False
    use_regex: bool = True


class _Model(msgspec.Struct):
    type: str = "BPE"
    vocab: dict[str, Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]] = {}
    merges: list[str | tuple[str, str]] = []
    ignore_merges: bool = False
    dropout: float | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class _File(msgspec.Struct):
    model: _Model = msgspec.field(default_factory=_Model)
    pre_tokenizer: _Cutter | None = None


def _from_json(path: Path, data: bytes) -> BpeTokenizer:
    """As the file says, but for what would take text for tokens, change it or add to it.

    Added tokens, a normaliser, a template around the text, truncation and padding are left out: a prompt is
    bytes, and each of them counts. The library never sees the file itself: some would end the process.
    """
    said = f"The tokenizer file {path}"
    try:
        found = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{said} is no tokenizer.json of a BPE vocabulary: {error}.") from None
    model = found.model
    if not model.vocab:
        raise UsageError(f"{said} holds no vocabulary. Name the tokenizer.json of a model.")
    if model.type != "BPE" or model.dropout or model.continuing_subword_prefix or model.end_of_word_suffix:
        raise UsageError(
            f"{said} has a vocabulary of another kind ({model.type}); only byte-level BPE is known."
        )
    if missing := _missing(model.vocab):
        raise UsageError(
            f"{said} is no byte-level BPE: its vocabulary lacks {missing} of the 243 bytes of UTF-8."
        )
    merges = [_halves(m) if isinstance(m, str) else m for m in model.merges]
    try:
        cutters = [_cutter(step, said) for step in _steps(found.pre_tokenizer)]
        bpe = _assembled(model.vocab, merges, cutters, ignore_merges=model.ignore_merges)
        tokenizer = BpeTokenizer(bpe)
        back = b"".join(tokenizer.pieces(_PROBE))
    except UsageError:
        raise
    except Exception as error:  # the library's have no class of their own
        raise UsageError(f"{said} cannot be used: {error}.") from None
    if back != _PROBE.encode():
        raise UsageError(f"{said} changes the text that it cuts; only byte-level BPE is known.")
    return tokenizer


def _steps(cutter: _Cutter | None) -> Iterator[_Cutter]:
    """The steps of a sequence, in order."""
    if cutter is not None and cutter.type == "Sequence":
        for inner in cutter.pretokenizers:
            yield from _steps(inner)
    elif cutter is not None:
        yield cutter


def _cutter(step: _Cutter, said: str) -> Any:
    """The library's own for a step. Raises UsageError for one that is not known."""
    library = _library()
    cutters = library.pre_tokenizers
    match step:
        case _Cutter(type="ByteLevel", add_prefix_space=False):
            return cutters.ByteLevel(add_prefix_space=False, use_regex=step.use_regex)
        case _Cutter(type="Digits"):
            return cutters.Digits(individual_digits=step.individual_digits)
        case _Cutter(type="Split", behavior="Isolated", invert=False, pattern={"Regex": pattern}):
            return cutters.Split(library.Regex(pattern), behavior="isolated")
        case _Cutter(type="Split", behavior="Isolated", invert=False, pattern={"String": text}):
            return cutters.Split(text, behavior="isolated")
        case _:
            raise UsageError(
                f"{said} has an unknown pre-tokenizer: '{step.type}' {step.behavior or 'of this form'}. "
                "Known are Split (Isolated), Digits and ByteLevel (without a space in front)."
            )


def _missing(vocabulary: dict[str, int]) -> int:
    """How many of the bytes that UTF-8 is made of the vocabulary has no token for."""
    return sum(letter not in vocabulary for byte, letter in enumerate(alphabet()) if byte not in _NEVER)


_PROBE = "a  é\r\n\t数🎉 1x"
_NEVER = frozenset((0xC0, 0xC1, *range(0xF5, 0x100)))
"""No UTF-8 holds these, and some vocabularies have none of them."""


def _library() -> Any:
    # By name: this module has the library's own, and its classes carry no types.
    return importlib.import_module("tokenizers")


def _halves(merge: str) -> tuple[str, str]:
    """A merge is written `left right`; a space can only be the separator, for no token text holds one."""
    left, _, right = merge.partition(" ")
    return left, right
