"""Put the figures of `figures.json` into `CARD.md`, between its markers: `python card.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
BEGIN, END = "<!-- figures: written by training/card.py -->", "<!-- end of figures -->"


def tables(figures: dict[str, Any]) -> str:
    """All figures as Markdown."""
    parts = [_text(figures)]
    if "rest_of_line" in figures:
        parts[0] += _rest(figures["rest_of_line"])
    if "docstrings" in figures:
        parts.append(_docstrings(figures["docstrings"]))
    parts.append(_conversion(figures["conversion"]))
    return "\n\n".join("\n".join(part) for part in parts)


def _text(figures: dict[str, Any]) -> list[str]:
    rows = [
        "| held-out files | measured on | nano | 5-gram |",
        "|---|---|---|---|",
    ]
    for name, loss in figures["loss"].items():
        rows.append(
            f"| nats per token, {name} | {loss['tokens']:,} tokens | {loss['nano_nats_per_token']:.2f} "
            f"({loss['nano_bits_per_byte']:.2f} bits per byte) | {loss['five_gram_nats_per_token']:.2f} |"
        )
    for name, line in figures["next_line"].items():
        rows.append(
            f"| next line exactly right, {name} | {line['places']} places | {line['nano_exact']:.1%} "
            f"| {line['five_gram_exact']:.1%} ({_alone(line)}) |"
        )
    return rows


def _rest(rest: dict[str, Any]) -> list[str]:
    plain, asked = rest["nano_exact_code_before_only"], rest["nano_exact_product_prompt"]
    return [
        f"| rest of the line exactly right, from the code before it | {rest['places']} places | {plain:.1%} "
        f"| {rest['five_gram_exact']:.1%} ({_alone(rest)}) |",
        f"| the same places, asked by the product's prompt | {rest['places']} places | {asked:.1%} | |",
    ]


def _alone(found: dict[str, Any]) -> str:
    return (
        f"alone right: nano {found['nano_alone']} times, the 5-gram {found['five_gram_alone']}; "
        f"p = {found['chance']:.2g}"
    )


def _docstrings(found: dict[str, Any]) -> list[str]:
    rows = [
        f"Docstrings under the product's grammar, for {found['places']} held-out definitions: "
        f"{found['fit_and_parse']:.1%} fit and parse where they belong. Words shared with the library's own "
        f"sentence (F1): {found['nano_word_f1']:.2f}; the definition's name, split into words, "
        f"shares {found['name_word_f1']:.2f}. The first ones, as they came:",
        "",
        "| definition | nano | the library |",
        "|---|---|---|",
    ]
    for example in found["first_examples"]:
        cells = (f"`{example['name']}`", example["nano"] or "(nothing fit)", example["library"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def _conversion(found: dict[str, Any]) -> list[str]:
    names = {
        "f32_weights_f32_cache": "f32 weights, f32 cache",
        "f32_weights_f16_cache": "f32 weights, f16 cache",
        "published_file_f16_cache": "this file, f16 cache",
    }
    rows = [
        "Torch against llama.cpp on a held-out file, in standard deviations of the logits (largest / mean "
        f"difference). The tolerance for f32 is {found['tolerance']['f32_weights_f32_cache']:g}.",
        "",
        "| | 10 tokens | 500 tokens | 2,000 tokens | same best token at 2,000 |",
        "|---|---|---|---|---|",
    ]
    for key, name in names.items():
        by_length = found[key]
        cells = [f"{d['max']:.2g} / {d['mean']:.2g}" for d in by_length.values()]
        rows.append(f"| {name} | {' | '.join(cells)} | {by_length['2000']['same_best']:.1%} |")
    nats = found["nats_on_the_first_2000"]
    rows += [
        "",
        f"On those tokens torch has {nats['torch']:.4f} nats per token, this file {nats['file']:.4f}.",
    ]
    return rows


def with_tables(card: str, figures: dict[str, Any]) -> str:
    """The card with its figures renewed."""
    before, rest = card.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables(figures)}\n{END}{after}"


def main() -> None:
    card = HERE / "CARD.md"
    figures = json.loads((HERE / "figures.json").read_text(encoding="utf-8"))
    card.write_text(with_tables(card.read_text(encoding="utf-8"), figures), encoding="utf-8")


if __name__ == "__main__":
    main()
