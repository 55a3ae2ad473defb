"""Tokens evaluated per request, as curves: how many of the requests cost at most so much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 860, 420, 60, 24, 44
COLOURS = ("#1a7f37", "#cf222e", "#9a6700", "#0969da", "#8250df", "#57606a")
MOST = 5
"""Powers of ten on the axis."""


def picture(costs: Mapping[str, Sequence[int]]) -> str:
    """An SVG; `costs` are tokens per request by layout, the first one ours."""
    plot = HEIGHT - TOP - BOTTOM
    right = WIDTH - 20

    def x(share: float) -> float:
        return LEFT + share * (right - LEFT)

    def y(tokens: float) -> float:
        return TOP + plot * (1 - math.log10(max(1.0, tokens)) / MOST)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for power in range(MOST + 1):
        at = y(10**power)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{right}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{10**power:,}</text>')
    for percent in (0, 25, 50, 75, 95, 100):
        at = x(percent / 100)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 24}" text-anchor="middle">{percent} %</text>')
    parts.append(
        f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">'
        "of the requests evaluate at most so many tokens again</text>"
    )
    for number, (name, values) in enumerate(costs.items()):
        colour, ordered = COLOURS[number % len(COLOURS)], sorted(values)
        if not ordered:
            continue
        points = " ".join(
            f"{x(step / 200):.1f},{y(ordered[min(len(ordered) - 1, step * len(ordered) // 200)]):.1f}"
            for step in range(201)
        )
        width = 2.5 if number == 0 else 1.5
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        mean = sum(ordered) / len(ordered)
        parts.append(
            f'<text x="{LEFT + 12}" y="{TOP + 14 + 17 * number}" fill="{colour}">'
            f"{escape(name)}: mean {mean:,.0f}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
