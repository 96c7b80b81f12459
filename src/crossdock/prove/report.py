"""A proof as one HTML page: figures, plots as inline SVG, what was found. Nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from crossdock.prove.rig import Outcome
from crossdock.prove.verdict import Verdict

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2430}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #d8dee6}"
    "text{font:12px system-ui,sans-serif;fill:#1c2430}.pass{color:#17693a}.fail{color:#a4211a}"
)
_BAR_HEIGHT: Final = 22
_WIDTH: Final = 640
RUNS_SHOWN: Final = 3


def write_report(verdict: Verdict, outcomes: Sequence[Outcome]) -> str:
    """The page's text."""
    facts = [
        ("Scenario", verdict.scenario), ("Seeds", f"{verdict.seeds} from {verdict.first_seed}"),
        ("Facts acknowledged", str(verdict.facts_acknowledged)), ("Seconds", str(verdict.seconds)),
        ("Simulated seconds", str(verdict.simulated_seconds)),
    ]  # fmt: skip
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    found = "".join(
        f"<tr><td>{outcome.seed}</td><td>{escape(violation.checker)}</td><td>{escape(violation.subject)}</td>"
        f"<td>{escape(violation.message)}</td></tr>"
        for outcome in outcomes for violation in outcome.violations
    )  # fmt: skip
    table = f"<table><tr><th>Seed</th><th>Checker</th><th>Subject</th><th>Message</th></tr>{found}</table>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Proof: {escape(verdict.scenario)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Proof: {escape(verdict.scenario)}</h1>"
        f'<p class="{verdict.verdict}"><strong>{verdict.verdict}</strong></p><table>{rows}</table>'
        f"<h2>Faults injected</h2>{_bars(verdict.faults)}<h2>Facts by seed</h2>{_line([o.facts for o in outcomes])}"
        f"<h2>Simulated seconds by seed</h2>{_line([o.simulated_seconds for o in outcomes])}"
        f"<h2>Violations</h2>{table if found else '<p>None.</p>'}"
        f"<h2>What partners had confirmed and forgot</h2>{_losses(outcomes)}{_days(outcomes)}</body></html>"
    )


def _losses(outcomes: Sequence[Outcome]) -> str:
    """Their own breach, and nothing that Crossdock could undo: named, so that a person enters it again."""
    lines = "".join(
        f"<li>seed {outcome.seed}: {escape(', '.join(outcome.lost))}</li>" for outcome in outcomes if outcome.lost
    )
    return f"<ul>{lines}</ul>" if lines else "<p>Nothing.</p>"


def _days(outcomes: Sequence[Outcome]) -> str:
    """Of the first runs, and of those in which something was found: hours, milestones, and what nemeses did when."""
    shown = [outcome for outcome in outcomes if outcome.violations][:RUNS_SHOWN] or list(outcomes[:RUNS_SHOWN])
    return "".join(_day(outcome) for outcome in shown)


def _day(outcome: Outcome) -> str:
    figures = outcome.figures
    if figures is None:
        return ""
    hours = "".join(
        f"<tr><td>{hour}</td><td>{sum(channels.values())}</td><td>"
        f"{escape(', '.join(f'{name} {count}' for name, count in channels.items()))}</td></tr>"
        for hour, channels in figures.by_hour.items()
    )
    milestones = "".join(
        f"<tr><td>{escape(item.name)}</td><td>{item.orders}</td><td>{item.median_seconds}</td>"
        f"<td>{item.slowest_tenth_seconds}</td><td>{item.longest_seconds}</td></tr>"
        for item in figures.milestones
    )
    deeds = "".join(
        f"<tr><td>{deed.at_seconds:.3f}</td><td>{escape(deed.nemesis)}</td><td>{escape(deed.what)}</td></tr>"
        for deed in figures.deeds
    )
    states = ", ".join(f"{count} {state}" for state, count in figures.orders.items())
    by_hour = {f"hour {hour}": sum(channels.values()) for hour, channels in figures.by_hour.items()}
    return (
        f"<h2>Seed {outcome.seed}</h2>"
        f"<p>{escape(states)}; {figures.shipments} shipments, {figures.invoiced} invoiced.</p>"
        f"<h3>Orders by hour</h3>{_bars(by_hour)}"
        f"<table><tr><th>Hour</th><th>Orders</th><th>By channel</th></tr>{hours}</table>"
        "<h3>Simulated seconds from acceptance to milestone</h3><table><tr><th>Milestone</th><th>Orders</th>"
        f"<th>Median</th><th>Slowest tenth from</th><th>Longest</th></tr>{milestones}</table>"
        "<h3>What went wrong, and when</h3><table><tr><th>Simulated second</th><th>Nemesis</th><th>What</th></tr>"
        f"{deeds}</table>"
    )


def _bars(counts: Mapping[str, int]) -> str:
    if not counts:
        return "<p>None.</p>"
    most = max(counts.values())
    bars = "".join(
        f'<text x="0" y="{row * _BAR_HEIGHT + 15}">{escape(name)}</text>'
        f'<rect x="140" y="{row * _BAR_HEIGHT + 4}" width="{count * (_WIDTH - 200) / most:.1f}" height="14" '
        f'fill="#3566a8"/>'
        f'<text x="{146 + count * (_WIDTH - 200) / most:.1f}" y="{row * _BAR_HEIGHT + 15}">{count}</text>'
        for row, (name, count) in enumerate(counts.items())
    )
    height = len(counts) * _BAR_HEIGHT
    return f'<svg width="{_WIDTH}" height="{height}" role="img" aria-label="Faults by kind">{bars}</svg>'


def _line(values: Sequence[float]) -> str:
    if not values:
        return "<p>None.</p>"
    most = max(*values, 1)
    step = _WIDTH / max(len(values) - 1, 1)
    points = " ".join(f"{index * step:.1f},{120 - value * 110 / most:.1f}" for index, value in enumerate(values))
    return (
        f'<svg width="{_WIDTH}" height="130" role="img" aria-label="By seed, at most {most}">'
        f'<polyline points="{points}" fill="none" stroke="#3566a8"/><text x="0" y="12">{most}</text></svg>'
    )
