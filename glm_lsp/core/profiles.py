"""Facts about models, from `config/models/*.toml`: a new model of a known kind is a new file, not code."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from glm_lsp.core.draft import Weights
from glm_lsp.core.errors import ConfigError
from glm_lsp.core.generation import Form
from glm_lsp.core.template import TemplateName


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """One model. TOML keys carry the same names; `source` says where the facts come from."""

    name: str
    title: str
    source: str
    architecture: str
    """As in the GGUF's `general.architecture`."""
    template: str
    context_tokens: int
    """The default to allocate; `trained_context_tokens` is the most."""
    trained_context_tokens: int
    prompt_tokens: int
    """The default budget of a prompt."""
    gguf: str = ""
    """File name beside the profile, for a bundled model."""
    completion_form: str = "chat"
    completion_lines: int = 0
    """Most lines of one completion; 0: up to the end of the block."""
    edit_format: str = "anchored"
    kv_bytes_per_token_f16: int = 0
    experts: int = 0
    """Routed experts of a layer; 0: every weight is read for every token."""
    experts_used: int = 0
    """Per token."""
    expert_parameters: int = 0
    """Of one routed expert, over all layers."""
    dense_parameters: int = 0
    """Read for every token whatever the experts: attention, shared experts, the head."""
    draft_layers: int = 0
    """Layers for multi-token prediction (MTP) that the model has been published with."""
    use: str = ""
    """One sentence: what it is good for."""
    directory: str = ""
    """Where the profile was found; not a TOML key."""

    @property
    def gguf_path(self) -> str:
        """The bundled model file, or an empty string."""
        return str(Path(self.directory) / self.gguf) if self.gguf else ""


def config_directory() -> Path:
    """The package's `config/`: inside an installed wheel, or beside the package in a checkout."""
    inside = Path(str(resources.files("glm_lsp"))) / "config"
    return inside if inside.is_dir() else Path(str(resources.files("glm_lsp"))).parent / "config"


def draft_weights(profile: ModelProfile, dense: float = 1.0, expert: float = 1.0) -> Weights:
    """What a step of this model reads, for `core.draft`.

    `dense` and `expert` say what one parameter of either kind costs: 1 for parameters, bits per weight for a
    quantisation, bits over bandwidth where they lie in different memories. Raises ConfigError if the profile
    lacks the facts.
    """
    if not (profile.experts and profile.experts_used and profile.dense_parameters):
        raise ConfigError(
            f"The model profile '{profile.name}' does not say how many experts and parameters the model has."
        )
    return Weights(
        profile.dense_parameters * dense,
        profile.expert_parameters * expert,
        profile.experts,
        profile.experts_used,
    )


def names() -> tuple[str, ...]:
    """The profiles that come with the package."""
    return tuple(sorted(path.stem for path in (config_directory() / "models").rglob("*.toml")))


def held_out(path: str) -> bool:
    """Whether the bundled model has not seen this file of the standard library in training.

    `path` is relative to the library's directory, with forward slashes. Nothing else decides: the rule holds
    on every installation and version.
    """
    return int(hashlib.sha1(path.encode("utf-8"), usedforsecurity=False).hexdigest(), 16) % 100 < 5


def load(name_or_path: str) -> ModelProfile:
    """Return the profile of that name, or of that TOML file. Raises ConfigError with the remedy."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        found = [p for p in (config_directory() / "models").rglob("*.toml") if p.stem == name_or_path]
        if not found:
            raise ConfigError(
                f"There is no model profile '{name_or_path}'. Choose one of {', '.join(names())}, "
                "or give the path of a TOML file."
            )
        path = found[0]
    if path.exists() and not path.is_file():
        raise ConfigError(f"The model profile {path} is not a regular file; name a TOML file.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The model profile {path} cannot be read: {error}.") from error
    return parse(table, path)


def parse(table: dict[str, Any], path: Path) -> ModelProfile:
    """Check a profile's keys and types. Unknown keys are an error: a typo must not pass silently."""
    known = {k: t for k, t in ModelProfile.__annotations__.items() if k != "directory"}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(
                f"The model profile {path} has an unknown key '{key}'; known are {', '.join(known)}."
            )
        wanted = int if known[key] == "int" else str
        if type(value) is not wanted:
            raise ConfigError(
                f"In the model profile {path}, '{key}' must be {wanted.__name__}, not {value!r}."
            )
    required = {k for k in known if k not in _defaulted()}
    if missing := sorted(required - table.keys()):
        raise ConfigError(f"The model profile {path} lacks {', '.join(missing)}.")
    profile = ModelProfile(**table, directory=str(path.parent))
    if profile.template not in set(TemplateName) or profile.completion_form not in set(Form):
        raise ConfigError(f"The model profile {path} names an unknown template or completion form.")
    return profile


def _defaulted() -> set[str]:
    return {
        k
        for k in ModelProfile.__dataclass_fields__
        if ModelProfile.__dataclass_fields__[k].default is not _MISSING
    }


_MISSING = ModelProfile.__dataclass_fields__["name"].default
