"""Reads rule tables: a header line, then one case a line, columns divided by bars; `#` begins a remark."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def read_table(name: str) -> list[dict[str, str]]:
    """The cases of `name`.table, each by column."""
    text = (FOLDER / f"{name}.table").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")]
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    header, *cases = rows
    wrong = [row for row in cases if len(row) != len(header)]
    assert not wrong, f"{name}.table: not {len(header)} columns: {wrong[0]}"
    return [dict(zip(header, row, strict=True)) for row in cases]
