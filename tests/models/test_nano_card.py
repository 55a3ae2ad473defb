"""The card says what was measured, and what the model is for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nano_files import HERE, training_importable

training_importable()
import card  # noqa: E402

CARD = (HERE / "CARD.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return json.loads((HERE / "figures.json").read_text(encoding="utf-8"))


def test_its_figures_are_the_measured_ones(figures: dict[str, Any]) -> None:
    assert card.with_tables(CARD, figures) == CARD


def test_it_says_what_it_is_for() -> None:
    assert "for trying and testing, not for work" in CARD
    assert "PSF-2.0" in CARD
    assert "MIT" in CARD


@pytest.mark.parametrize("files", ["library", "tests"])
def test_the_model_beats_the_5_gram_clearly(figures: dict[str, Any], files: str) -> None:
    """By nats per token, and by whole lines so often that it is no chance."""
    loss, line = figures["loss"][files], figures["next_line"][files]
    assert loss["nano_nats_per_token"] < loss["five_gram_nats_per_token"] - 0.3
    assert line["nano_exact"] > 2 * line["five_gram_exact"]
    assert line["chance"] < 0.01


def test_the_conversion_is_within_its_tolerance(figures: dict[str, Any]) -> None:
    found = figures["conversion"]
    assert all(
        apart["max"] <= found["tolerance"]["f32_weights_f32_cache"]
        for apart in found["f32_weights_f32_cache"].values()
    )
    nats = found["nats_on_the_first_2000"]
    assert abs(nats["file"] - nats["torch"]) < 0.02
