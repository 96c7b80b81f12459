"""Plots as SVG: bars with their figures beside them, readable without colour and without the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, NAME, FIGURE, ROW, TOP = 820, 250, 110, 30, 44
OURS, THEIRS = "#0b6e4f", "#7a8799"
INK = "#1d2733"
FONT = 'font-family="system-ui, sans-serif" font-size="14"'


@dataclass(frozen=True, slots=True)
class Bar:
    """`value` decides the length, `figure` is written beside it."""

    name: str
    value: float
    figure: str
    ours: bool


def draw_bars(title: str, bars: Sequence[Bar]) -> str:
    """Bars on a logarithmic scale, for figures that lie far apart."""
    room = WIDTH - NAME - FIGURE - 20
    lowest = min((bar.value for bar in bars if bar.value > 0), default=1.0)
    highest = max((bar.value for bar in bars), default=1.0)
    # The shortest bar stays visible.
    base = math.log10(lowest) - 0.3
    span = max(math.log10(max(highest, lowest)) - base, 0.3)
    height = TOP + ROW * len(bars) + 14
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" {FONT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="24" font-size="16" font-weight="600" fill="{INK}">{escape(title)}</text>',
    ]
    for place, bar in enumerate(bars):
        top = TOP + ROW * place
        length = room * (math.log10(bar.value) - base) / span if bar.value > 0 else 0
        lines += [
            f'<text x="{NAME - 8}" y="{top + 18}" text-anchor="end" fill="{INK}">{escape(bar.name)}</text>',
            f'<rect x="{NAME}" y="{top + 4}" width="{length:.0f}" height="20" fill="{OURS if bar.ours else THEIRS}"/>',
            f'<text x="{NAME + length + 6:.0f}" y="{top + 18}" fill="{INK}">{escape(bar.figure)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
