"""A proof with real processes as one HTML page: the verdict, and what each nemesis did and when, as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from crossdock.prove.nemeses.diary import MENDED, Deed
from crossdock.prove.order_path_real import RealOutcome

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2430}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #d8dee6}"
    "text{font:12px system-ui,sans-serif;fill:#1c2430}.pass{color:#17693a}.fail{color:#a4211a}"
)
_ROW: Final = 26
_LEFT: Final = 110
_WIDTH: Final = 900


def write_report(outcomes: Sequence[RealOutcome]) -> str:
    """The page's text. Nothing is loaded from elsewhere."""
    parts = "".join(_section(outcome) for outcome in outcomes)
    name = outcomes[0].scenario if outcomes else "nothing"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Proof: {escape(name)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Proof: {escape(name)}</h1>{parts}</body></html>"
    )


def _section(outcome: RealOutcome) -> str:
    facts = (
        ("Orders", outcome.orders), ("Facts acknowledged", outcome.facts_acknowledged), ("Seconds", outcome.seconds),
        ("Seconds until all was at rest", outcome.settle_seconds),
        ("Faults", ", ".join(f"{name} {count}" for name, count in outcome.faults.items()) or "none"),
        ("Skipped", ", ".join(f"{name}: {reason}" for name, reason in outcome.skipped.items()) or "none"),
    )  # fmt: skip
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts)
    found = "".join(
        f"<tr><td>{escape(checker)}</td><td>{escape(line)}</td></tr>"
        for checker, lines in outcome.violations.items() for line in lines
    )  # fmt: skip
    deeds = "".join(
        f"<tr><td>{deed.second}</td><td>{escape(deed.nemesis)}</td><td>{escape(deed.what)}</td>"
        f"<td>{escape(deed.target)}</td><td>{escape(deed.detail)}</td></tr>"
        for deed in outcome.deeds
    )
    return (
        f'<h2>Seed {outcome.seed}: <span class="{outcome.verdict}">{outcome.verdict}</span></h2><table>{rows}</table>'
        f"<h3>Violations</h3>{f'<table>{found}</table>' if found else '<p>None.</p>'}"
        f"<h3>What the nemeses did</h3>{_plot(outcome.deeds)}"
        "<details><summary>As a table</summary><table><tr><th>Second</th><th>Nemesis</th><th>What</th><th>Where</th>"
        f"<th></th></tr>{deeds}</table></details>"
    )


def _plot(deeds: Sequence[Deed]) -> str:
    """A row for each nemesis; a mark where it struck, a pale one where it mended."""
    if not deeds:
        return "<p>Nothing.</p>"
    names = sorted({deed.nemesis for deed in deeds})
    last = max(deed.second for deed in deeds) or 1
    labels = "".join(f'<text x="0" y="{row * _ROW + 17}">{escape(name)}</text>' for row, name in enumerate(names))
    marks = "".join(
        f'<circle cx="{_LEFT + deed.second * (_WIDTH - _LEFT - 10) / last:.1f}" '
        f'cy="{names.index(deed.nemesis) * _ROW + 13}" r="5" fill="{"#b9c6d8" if deed.what == MENDED else "#a4211a"}">'
        f"<title>{deed.second} s: {escape(deed.what)} {escape(deed.target)}</title></circle>"
        for deed in deeds
    )
    height = len(names) * _ROW
    return f'<svg width="{_WIDTH}" height="{height}" role="img" aria-label="Deeds by time">{labels}{marks}</svg>'
