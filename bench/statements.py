"""The named statements of a .sql file of the benchmark."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load_statements(name: str) -> dict[str, str]:
    """`-- name: x` begins each statement of `bench/<name>.sql`."""
    parts = _NAME.split((Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8"))[1:]
    return {key: text.strip().rstrip(";") for key, text in zip(parts[::2], parts[1::2], strict=True)}
