"""How a worker ends where it cannot serve."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from glm_lsp.core.errors import ConfigError, GlmError, ModelFileError
from glm_lsp.engines.failures import error_named
from glm_lsp.engines.worker.scheduler import Scheduler
from glm_lsp.engines.worker.serve import Server


class Door:
    """A listener whose model cannot be had."""

    def __init__(self, trouble: BaseException) -> None:
        self.trouble, self.told, self.finished = trouble, GlmError(), 0

    def wanted(self) -> None:
        raise self.trouble

    def end(self, message: str, *, kind: str = "") -> None:
        self.told = error_named(kind, message)

    def finish(self, unsaved: str = "") -> None:
        assert not unsaved
        self.finished += 1


@pytest.mark.parametrize(
    ("trouble", "kind", "said"),
    [
        (MemoryError(), ConfigError, "got no more memory .* Lower model.kv_tokens .*, or end other programs"),
        (ModelFileError("The file is cut off."), ModelFileError, "^The file is cut off.$"),
    ],
)
def test_what_keeps_it_from_serving_is_told_as_a_sentence(
    trouble: BaseException, kind: type[GlmError], said: str
) -> None:
    door: Any = Door(trouble)
    assert Server(door, Scheduler()).run() == 1
    assert type(door.told) is kind
    assert door.finished == 1
    with pytest.raises(kind, match=said):
        raise door.told
