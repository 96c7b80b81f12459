"""Who goes on after the database's errors goes on after all of them.

Found by the proof with real processes: the database was stopped with a full disk, the driver found its own connection
in the middle of something (`InternalClientError`, which is none of the others), and a running worker ended.
"""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "crossdock"
WANTED = {"PostgresError", "InterfaceError", "InternalClientError"}


def caught(handler: ast.ExceptHandler) -> set[str]:
    """The names of the driver's errors that a handler takes."""
    if handler.type is None:
        return set()
    return {
        node.attr for node in ast.walk(handler.type)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "asyncpg"
    }  # fmt: skip


def test_whoever_survives_a_lost_database_survives_a_broken_connection() -> None:
    found, lacking = 0, []
    for folder in ("engine", "api", "console", "cli", "insight", "ledger"):
        for path in sorted((SOURCE / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ExceptHandler) and {"PostgresError", "InterfaceError"} <= caught(node):
                    found += 1
                    if not caught(node) >= WANTED:
                        lacking.append(f"{path.name}:{node.lineno}")
    assert found > 10
    assert not lacking
