"""What the embedded engine and its worker say to each other: length-prefixed msgpack, strictly typed.

A frame is four bytes, the length (big-endian), and that many bytes of msgpack: a map with a `type`. A client
begins with `Hello` and hears `Welcome` or `Refused`. The end of the connection is the end of the client: what
it had asked for is cancelled.
"""

from __future__ import annotations

import msgspec

from glm_lsp.core.generation import Finish

FRAME_LIMIT = 64 << 20
"""Most bytes of one frame; a prompt of a million tokens has about 4 MB."""
PROTOCOL = 2


class FrameError(Exception):
    """The other side sent something that is no frame."""


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    pass


class Load(_Message, frozen=True, tag="load"):
    """Which model a client needs, and how it is to run. A worker has one; what differs is a conflict."""

    path: str
    architecture: str
    context_tokens: int
    """Of one request."""
    kv_tokens: int
    """Cells of the KV cache, which all sequences share; at least `context_tokens`."""
    batch_tokens: int
    kv_type: str
    kv_bytes_per_token_f16: int
    threads: int = 0
    """While decoding; 0: one per physical core."""
    batch_threads: int = 0
    """While evaluating prompts; 0: as many as `threads`."""
    gpu_layers: int = 0
    cpu_expert_layers: int = 0
    """Of so many layers, the last ones first, the experts stay in main memory; -1: of all."""
    tensor_overrides: tuple[str, ...] = ()
    """More tensors that stay in main memory: regular expressions over their names."""
    mmap: bool = True
    mlock: bool = False
    template: str = ""
    """Name and version of what made the prompts; saved KV of another one is not looked at."""
    stall_s: float = 300.0
    linger_s: float = 900.0
    saved_kv_bytes: int = 0
    """Most that saved KV may take on the disk; 0: none is saved."""
    drafts: bool = True


class Hello(_Message, frozen=True, tag="hello"):
    """The first frame to a worker. `load` is None for a client that only asks or stops."""

    token: str
    client: str
    """What a person would call it: 'editor', 'refactor' …"""
    pid: int
    load: Load | None = None
    protocol: int = PROTOCOL
    version: str = ""
    """Of glm-lsp: a worker of another one makes way where it serves nobody else."""


class Greeting(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """What every version's `Hello` has: enough to refuse one of another version with a sentence."""

    token: str
    protocol: int = 0


class Generate(_Message, frozen=True, tag="generate"):
    """Answer one prompt. `pieces` are (text, special); `heal` is the index of the piece to heal, or -1.

    Lower `urgency` goes first (`core.generation.Work` in its order). `max_tokens` 0 evaluates the prompt and
    writes nothing: warm-up. Ids are the client's own.
    """

    id: int
    pieces: tuple[tuple[str, bool], ...]
    max_tokens: int
    trunk: int = 0
    """So many pieces, the first ones, are shared by a repository's requests."""
    heal: int = -1
    thinking: bool = False
    reasoning_tokens: int = 0
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    grammar: str = ""
    schema: str = ""
    """A JSON schema in place of a grammar."""
    drafts: bool = True
    source: str = ""
    """Text that the answer is expected to repeat, with changes: drafts may begin with it."""
    urgency: int = 0


class Cancel(_Message, frozen=True, tag="cancel"):
    """Stop that request, waiting or running. Unknown ids are ignored: the answer may be on its way."""

    id: int


class Ask(_Message, frozen=True, tag="ask"):
    """Send one `Status`."""


class Stop(_Message, frozen=True, tag="stop"):
    """End the worker: answered by `Refused` where other clients have work, unless `force`."""

    force: bool = False


class Welcome(_Message, frozen=True, tag="welcome"):
    """The token is right and the model is, or will be, the one asked for. `Loading` or `Ready` follow."""

    pid: int
    version: str


class Refused(_Message, frozen=True, tag="refused"):
    """The greeting is refused; the worker closes the connection.

    `ending`: it ends itself, because nobody else needs it, and the client may start another at once.
    """

    message: str
    ending: bool = False


class Loading(_Message, frozen=True, tag="loading"):
    """A sign of life while the model is loaded; `fraction` is 0 to 1."""

    fraction: float


class Ready(_Message, frozen=True, tag="ready"):
    """The model is loaded."""

    context_tokens: int
    vocabulary: int
    seconds: float
    threads: int
    placement: str = ""
    """A sentence: where weights and KV cache are."""


class Alive(_Message, frozen=True, tag="alive"):
    """Every two seconds: the worker lives. `stuck_s`: for how long the running call shows no progress."""

    stuck_s: float = 0.0


class Progress(_Message, frozen=True, tag="progress"):
    """Prompt tokens in the KV cache so far, reused ones included."""

    id: int
    done: int
    total: int
    seconds_left: float = -1.0
    """Until the first token, as far as this worker's own speed tells; -1: unknown."""
    waiting: int = 0
    """Requests that go first."""


class Text(_Message, frozen=True, tag="text"):
    """A piece of the answer, or of the reasoning."""

    id: int
    text: str = ""
    reasoning: str = ""


class Done(_Message, frozen=True, tag="done"):
    """The end of an answer, with what it cost."""

    id: int
    finish: Finish
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    prefill_seconds: float
    decode_seconds: float
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    interrupted: int = 0
    """How often more urgent work came between."""
    evaluated_again: int = 0
    """Tokens evaluated twice because of that."""
    restored_tokens: int = 0
    """Of the cached ones, those that came from the disk."""
    mtp_drafted_tokens: int = 0
    """Of the drafted ones, guesses of the layer that foretells tokens (MTP)."""
    mtp_accepted_tokens: int = 0
    near_ties: int = 0
    """Greedy choices in drafted batches with another within the noise: without drafts it may be that one."""


class Cancelled(_Message, frozen=True, tag="cancelled"):
    """The request has stopped; `output_tokens` had been decoded."""

    id: int
    output_tokens: int


class Failed(_Message, frozen=True, tag="failed"):
    """A request (or, without an id, the loading) failed. `kind` names the error class of `core.errors`."""

    id: int | None
    kind: str
    message: str


class Speed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens per second measured at a depth of the context, `depth` tokens and deeper up to the next."""

    depth: int
    prefill: float
    decode: float


class JobStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    client: str
    urgency: int
    state: str
    """`waiting`, `reading`, `writing`, `paused`."""
    done: int
    total: int
    seconds_left: float


class Status(_Message, frozen=True, tag="status"):
    """Live figures. Sizes in bytes, times in seconds."""

    pid: int
    version: str
    model: str
    state: str
    """`loading`, `ready`, `measuring` (which anybody may interrupt), `working`."""
    uptime: float = 0.0
    idle_for: float = 0.0
    ends_in: float = -1.0
    """When nobody comes; -1 while there are clients."""
    clients: tuple[str, ...] = ()
    jobs: tuple[JobStatus, ...] = ()
    kv_tokens: int = 0
    kv_tokens_used: int = 0
    kv_bytes: int = 0
    trunks: tuple[int, ...] = ()
    """Tokens of each shared trunk."""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    restored_tokens: int = 0
    output_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    speeds: tuple[Speed, ...] = ()
    draft_costs: tuple[float, ...] = ()
    """c(k)/c(1) for k = 1, 2, …; empty: not measured."""
    measuring: bool = False
    """What drafts cost is still to be measured, in idle time; until then none are made."""
    eta_error: float = -1.0
    """Mean of |foretold - true| / true over the answers so far; -1: none yet."""
    saved_bytes: int = 0
    placement: str = ""
    near_ties: int = 0
    """As in `Done`, of all answers."""
    mtp: str = ""
    """Whether the layer that foretells tokens (MTP) is run, and why not; empty: the file carries none."""
    mtp_drafted_tokens: int = 0
    mtp_accepted_tokens: int = 0
    draft_noise: float = 0.0
    """How far apart the two best logits may be for such a tie, near the beginning."""
    draft_noises: tuple[tuple[int, int, float], ...] = ()
    """The same by depth: from so many tokens on, how many were compared there, and what is reckoned with."""
    notes: tuple[str, ...] = ()
    """Sentences that somebody should know: a full disk, a cache that is off …"""


Request = Hello | Generate | Cancel | Ask | Stop
Reply = Welcome | Refused | Loading | Ready | Alive | Progress | Text | Done | Cancelled | Failed | Status

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_replies = msgspec.msgpack.Decoder(Reply)
_greetings = msgspec.msgpack.Decoder(Greeting)


def encode(message: Request | Reply) -> bytes:
    """Return the frame of a message. Raises FrameError if that cannot be sent: too long, no Unicode …"""
    try:
        body = _encoder.encode(message)
    except UnicodeEncodeError as error:
        raise FrameError("The text holds half of a surrogate pair, which is not Unicode.") from error
    except OverflowError as error:
        raise FrameError("A number in it, such as the seed, has more than 64 bits.") from error
    if len(body) > FRAME_LIMIT:
        raise FrameError(
            f"A message of {len(body):,} bytes is longer than the {FRAME_LIMIT:,} that fit a frame."
        )
    return len(body).to_bytes(4, "big") + body


class _Splitter:
    """Cuts a stream of bytes into frame bodies."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._data += data
        bodies: list[bytes] = []
        at = 0
        while len(self._data) - at >= 4:
            size = int.from_bytes(self._data[at : at + 4], "big")
            if size > FRAME_LIMIT:
                raise FrameError(f"A frame claims {size:,} bytes; {FRAME_LIMIT:,} are allowed.")
            if len(self._data) - at - 4 < size:
                break
            bodies.append(bytes(self._data[at + 4 : at + 4 + size]))
            at += 4 + size
        del self._data[:at]
        return bodies

    @property
    def partial(self) -> bool:
        """Bytes of an unfinished frame have arrived."""
        return bool(self._data)


class RequestReader(_Splitter):
    """Frames as a worker reads them."""

    def read(self, data: bytes) -> list[Request]:
        """Take the next bytes, return the messages that they complete. Raises FrameError."""
        return [request(body) for body in self.feed(data)]


def greeting(body: bytes) -> Greeting:
    """Decode a client's first frame as far as any version does. Raises FrameError."""
    try:
        return _greetings.decode(body)
    except msgspec.DecodeError as error:
        raise FrameError(f"The first frame is no greeting: {error}.") from error


def request(body: bytes) -> Request:
    """Decode the body of one frame. Raises FrameError."""
    try:
        return _requests.decode(body)
    except msgspec.DecodeError as error:
        raise FrameError(f"A frame is not a request: {error}.") from error


class ReplyReader(_Splitter):
    """Frames as the engine reads them."""

    def read(self, data: bytes) -> list[Reply]:
        """Take the next bytes, return the messages that they complete. Raises FrameError."""
        try:
            return [_replies.decode(body) for body in self.feed(data)]
        except msgspec.DecodeError as error:
            raise FrameError(f"A frame is not a reply: {error}.") from error
