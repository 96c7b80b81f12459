"""Who is told to stop, stops.

On Python 3.11 `asyncio.wait_for` gives back a result that comes at the moment of a cancellation and forgets the
cancellation: a loop around it goes on for ever. `asyncio.timeout` does not.
"""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "crossdock"


def lines_with_wait_for(text: str) -> list[int]:
    return [
        node.lineno for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and node.attr == "wait_for"
        and isinstance(node.value, ast.Name) and node.value.id == "asyncio"
    ]  # fmt: skip


def test_nothing_waits_in_a_way_that_swallows_a_cancellation() -> None:
    assert lines_with_wait_for("await asyncio.wait_for(reading, 5)") == [1], "it would be seen"
    found = {
        path.name: lines for path in sorted(SOURCE.rglob("*.py"))
        if (lines := lines_with_wait_for(path.read_text(encoding="utf-8")))
    }  # fmt: skip
    assert found == {}
