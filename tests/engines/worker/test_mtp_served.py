"""A worker whose model foretells tokens: its status says whether the layer is run, and why not."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from foretelling import random_layer, write  # noqa: E402
from models import NANO  # noqa: E402

from glm_lsp.cli.worker import rows  # noqa: E402
from glm_lsp.core.settings import Settings  # noqa: E402
from glm_lsp.disk.store import Store  # noqa: E402
from glm_lsp.engines.embedded import EmbeddedEngine  # noqa: E402
from glm_lsp.engines.frames import Status  # noqa: E402
from glm_lsp.engines.worker import measuring, mtp_costs, serve  # noqa: E402
from glm_lsp.engines.worker.costs import CostTable  # noqa: E402
from glm_lsp.engines.worker.loading import open_model  # noqa: E402
from glm_lsp.engines.worker.mtp_policy import MtpCosts  # noqa: E402
from tests.engines.asking import ENDLESS, ask, collect  # noqa: E402

EAGER = CostTable(tuple(1 + 0.05 * k for k in range(64)), noise=0.05)
DEAR = CostTable((1.0, 2.0, 3.0), noise=0.05)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("random") / "random.gguf", random_layer())


def engine_of(path: Path, **more: object) -> EmbeddedEngine:
    return EmbeddedEngine(Settings({"model.path": str(path), "model.threads": 1, **more}), NANO)


def know(engine: EmbeddedEngine, costs: CostTable, mtp: MtpCosts, *, pays: bool) -> None:
    """As if all had been measured here before."""
    load = engine._load()
    loaded = open_model(load)
    store = Store(serve._costs_directory())
    measuring.Kept(store, serve._costs_identity(load, loaded)).write(costs)
    kept = mtp_costs.Kept(store, serve._mtp_identity(load, loaded.facts, loaded.placement))
    kept.write(mtp_costs.Known(mtp, pays))
    store.close()
    loaded.close()


async def status_after(engine: EmbeddedEngine, answers: int) -> Status:
    for number in range(answers):
        request = ask(max_tokens=40, grammar=ENDLESS, seed=number)
        await collect(engine, request)
    status = await engine.status()
    assert status is not None
    await engine.close()
    return status


@pytest.mark.usefixtures("runtime")
class TestStatus:
    def check(self, status: Status) -> str:
        """What is shown is what is so."""
        shown = dict(rows(status)).get("layer that foretells tokens", "")
        assert shown == status.mtp
        return shown

    async def test_where_it_pays_it_is_on_and_its_guesses_are_counted(self, path: Path) -> None:
        engine = engine_of(path)
        know(engine, EAGER, MtpCosts(0.02, 0.0), pays=True)
        status = await status_after(engine, 6)
        said = self.check(status)
        assert said.startswith(("on", "off for now, because it has not paid"))
        if status.mtp_drafted_tokens:
            right = f"{status.mtp_accepted_tokens} of {status.mtp_drafted_tokens} guesses"
            assert right in said
        assert status.drafted_tokens >= status.mtp_drafted_tokens

    async def test_where_it_cannot_pay_it_is_not_even_loaded(self, path: Path) -> None:
        engine = engine_of(path)
        know(engine, DEAR, MtpCosts(0.4, 0.0), pays=False)
        status = await status_after(engine, 1)
        assert "not run: however often it were right, it would not pay" in self.check(status)
        assert status.mtp_drafted_tokens == 0

    async def test_without_drafts_there_is_nothing_to_say(self, path: Path) -> None:
        status = await status_after(engine_of(path, **{"worker.drafts": False}), 1)
        assert self.check(status) == ""

    async def test_its_costs_are_measured_when_there_is_nothing_else_to_do(self, path: Path) -> None:
        """By this machine's own costs, whatever they are."""
        engine = engine_of(path)
        await collect(engine, ask(max_tokens=4))
        first = await engine.status()
        assert first is not None
        assert "as soon as there is nothing else to do" in self.check(first)
        while (status := await engine.status()) is not None and status.measuring:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        assert status is not None
        assert self.check(status).startswith(("on", "off", "not run: however often"))
        await engine.close()
