"""Every setting, once: its name, type, default, bounds, meaning, and the sources it may come from.

The TOML template, the JSON schema, VS Code's block and the README table are generated from `SETTINGS`.

A repository is never a source, and an editor's workspace settings reach us through the client: so whatever
chooses an endpoint, a key, a model, a command or a path (`TRUSTED`) is taken from the user's own TOML file, the
environment and the command line only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Source(StrEnum):
    """Where a value came from, weakest first. No setting may come from a repository; one there is reported."""

    REPOSITORY = "repository"
    DEFAULT = "default"
    CLIENT = "client"
    USER = "user"
    ENVIRONMENT = "environment"
    ARGUMENT = "argument"


ANY = frozenset({Source.CLIENT, Source.USER, Source.ENVIRONMENT, Source.ARGUMENT})
TRUSTED = ANY - {Source.CLIENT}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `name` is `section.key`; the environment variable is `GLM_LSP_SECTION_KEY`."""

    name: str
    default: bool | int | float | str | tuple[str, ...]
    meaning: str
    sources: frozenset[Source] = ANY
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    secret: bool = False

    @property
    def variable(self) -> str:
        return "GLM_LSP_" + self.name.upper().replace(".", "_")


REMOTE_KINDS = ("zai", "vllm", "sglang", "llama-server", "openai")
THINKING = ("off", "high", "max")

# One line per setting, whatever its length: this is a table.
# fmt: off
SETTINGS: tuple[Setting, ...] = (
    Setting("engine.default", "embedded", "Engine for all work: `embedded`, or `remote`.", TRUSTED, ("embedded", "remote")),
    Setting("engine.typing", "", "Engine for completion while typing; empty: the default one.", TRUSTED, ("", "embedded", "remote")),
    Setting("engine.refactor", "", "Engine for actions and refactors; empty: the default one.", TRUSTED, ("", "embedded", "remote")),
    Setting("engine.stall_seconds", 300.0, "Give up when an engine shows no sign of life for this long; there is no other time limit.", ANY, minimum=1),
    Setting("model.profile", "", "Model profile: a name from `config/models` or a path to a TOML file; empty: the one that fits the engine.", TRUSTED),
    Setting("model.path", "", "GGUF file for the embedded engine (the first part of a split one); empty: the bundled nano model.", TRUSTED),
    Setting("model.context_tokens", 0, "Context to allocate; 0: the profile's.", TRUSTED, minimum=0),
    Setting("model.batch_tokens", 256, "Tokens evaluated between two chances to cancel.", TRUSTED, minimum=16, maximum=4096),
    Setting("model.kv_tokens", 0, "Tokens that the KV cache holds for all sequences together; 0: twice the context.", TRUSTED, minimum=0),
    Setting("model.threads", 0, "Threads while writing; 0: one per physical core.", TRUSTED, minimum=0, maximum=1024),
    Setting("model.batch_threads", 0, "Threads while reading a prompt; 0: as many as while writing.", TRUSTED, minimum=0, maximum=1024),
    Setting("model.gpu_layers", 0, "Layers to place on the GPU, counted from the last; -1: all.", TRUSTED, minimum=-1),
    Setting("model.cpu_expert_layers", 0, "Of so many layers the experts stay in main memory, whatever else is on the GPU; -1: of all.", TRUSTED, minimum=-1),
    Setting("model.tensor_overrides", (), "More tensors that stay in main memory: regular expressions over their names.", TRUSTED),
    Setting("model.mmap", True, "Map the model file instead of reading it into memory; one that is larger than memory then runs from the disk, slowly.", TRUSTED),
    Setting("model.mlock", False, "Keep the weights in memory; the model must then fit into it.", TRUSTED),
    Setting("model.kv_type", "f16", "Type of the KV cache.", TRUSTED, ("f16", "q8_0", "q4_0", "f32")),
    Setting("typing_model.path", "", "GGUF file of a second, small model for completion while typing; empty: one model does all.", TRUSTED),
    Setting("typing_model.profile", "", "Profile of the model for typing; empty: the one that fits its file.", TRUSTED),
    Setting("typing_model.context_tokens", 0, "Context of the model for typing; 0: the profile's.", TRUSTED, minimum=0),
    Setting("worker.linger_minutes", 15.0, "The worker ends so long after its last client.", TRUSTED, minimum=0, maximum=10_080),
    Setting("worker.saved_kv_gb", 20.0, "Most that saved prompts may take on the disk, in GB of 10^9 bytes; 0: none is saved.", TRUSTED, minimum=0, maximum=100_000),
    Setting("worker.drafts", True, "Guess the next tokens from the text, or by the model's MTP layer, where it is measured to pay.", TRUSTED),
    Setting("worker.warm_up", True, "Read the repository's context while nothing else is to be done.", ANY),
    Setting("remote.kind", "openai", "What serves the remote model.", TRUSTED, REMOTE_KINDS),
    Setting("remote.endpoint", "", "Base address of the remote engine. Nothing is sent anywhere unless you set it.", TRUSTED),
    Setting("remote.model", "glm-5.2", "Model name to ask the remote engine for.", TRUSTED),
    Setting("remote.key", "", "API key; better given as GLM_LSP_REMOTE_KEY.", TRUSTED, secret=True),
    Setting("remote.tokenizer", "", "The remote model's tokenizer.json, or a GGUF file with its vocabulary: prompts are then counted exactly, on this machine; empty: the server counts, or a bound does.", TRUSTED),
    Setting("remote.context_tokens", 131_072, "Context that the remote engine serves.", TRUSTED, minimum=1024),
    Setting("completion.enabled", True, "Offer completions while typing."),
    Setting("completion.multiline", True, "Allow more than one line where the model's profile does."),
    Setting("completion.max_tokens", 96, "Longest completion.", ANY, minimum=1, maximum=2048),
    Setting("completion.form", "", "`chat` or `fim`; empty: the profile's choice.", ANY, ("", "chat", "fim")),
    Setting("completion.debounce_ms", 75, "Wait this long after a keystroke before asking the engine.", ANY, minimum=0, maximum=5000),
    Setting("completion.echo", True, "While the engine takes longer than you wait, or there is none: offer the rest of the line from the repository itself, where that is sure enough."),
    Setting("completion.popup", "auto", "Offer completions in the ordinary completion menu: `auto` means only where the editor has no ghost text.", ANY, ("auto", "always", "never")),
    Setting("thinking.completion", "off", "Thinking for completions.", ANY, THINKING),
    Setting("thinking.action", "off", "Thinking for code actions.", ANY, THINKING),
    Setting("thinking.refactor", "off", "Thinking for refactors.", ANY, THINKING),
    Setting("thinking.reasoning_tokens", 8192, "Bound on reasoning where thinking is on; left alone, also at most half of what the reply leaves of the context.", ANY, minimum=64, maximum=131_072),
    Setting("sampling.temperature", 0.0, "How freely tokens are drawn; 0: always the likeliest one, so that the same question has the same answer.", ANY, minimum=0, maximum=2),
    Setting("sampling.top_p", 1.0, "Only the likeliest tokens that together have this share of the probability are drawn from.", ANY, minimum=0.01, maximum=1),
    Setting("sampling.seed", 0, "Where drawing begins: the same seed draws the same tokens, where the engine takes one.", ANY, minimum=0, maximum=2**31 - 1),
    Setting("context.budget_tokens", 0, "Prompt budget; 0: the profile's.", ANY, minimum=0),
    Setting("context.log_share", 0.0, "Share of the prompt budget that the log of edits may take before the context is packed anew; 0: 0.15, and 0.3 from 8,192 tokens on.", ANY, minimum=0, maximum=0.6),
    Setting("context.tail_share", 0.0, "Share of the prompt budget that stays free for the code around the cursor; 0: 0.4, from 8,192 tokens on 0.25, but at most 4,096 tokens.", ANY, minimum=0, maximum=0.8),
    Setting("context.body_share", 0.4, "Of what is left for the repository, the share that whole definitions may take; signatures take the rest.", ANY, minimum=0, maximum=1),
    Setting("context.window_lines", 120, "Lines before the cursor that a completion sees at most.", ANY, minimum=4, maximum=10_000),
    Setting("edits.max_tokens", 4096, "Longest answer of an action or a refactor unit.", ANY, minimum=16, maximum=131_072),
    Setting("edits.format", "", "Edit format; empty: the profile's.", ANY, ("", "anchored", "search_replace")),
    Setting("index.max_file_bytes", 1_000_000, "Larger files are left out.", ANY, minimum=1024, maximum=100_000_000),
    Setting("index.workers", 0, "Indexing processes; 0: one per core, at most four.", TRUSTED, minimum=0, maximum=64),
    Setting("index.exclude", (), "More files to leave out: git-ignore patterns."),
    Setting("index.include", (), "Files to index although they are generated, minified or other people's code: git-ignore patterns."),
    Setting("secrets.allow", (), "Fingerprints of texts that look like secrets and are none, as `glm-lsp index` tells them: they are shown to models.", TRUSTED),
    Setting("log.level", "warning", "What goes to stderr.", ANY, ("debug", "info", "warning", "error")),
)
# fmt: on
BY_NAME: Mapping[str, Setting] = {s.name: s for s in SETTINGS}


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that was not taken: `message` is a sentence that names setting, source and remedy."""

    name: str
    source: Source
    message: str
    mistake: str = ""
    """What is wrong with the call itself, where it is: a command ends with this, a server goes on."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Values by name, each with its source. `settings["completion.max_tokens"]`."""

    values: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """Not in the `repr`: one of them is a key."""
    origin: Mapping[str, Source] = field(default_factory=dict[str, Source])
    problems: tuple[Problem, ...] = ()

    def __getitem__(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        return BY_NAME[name].default

    def text(self, name: str) -> str:
        return str(self[name])

    def integer(self, name: str) -> int:
        return int(self[name])

    def number(self, name: str) -> float:
        return float(self[name])

    def flag(self, name: str) -> bool:
        return bool(self[name])

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self[name])


DEFAULTS = Settings()
