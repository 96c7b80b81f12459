"""Processor seconds that a PostgreSQL server has used, from /proc: they hardly depend on who else uses the machine."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def server_seconds(postmaster: int) -> float:
    """Of the server, its living backends and those that have ended."""
    ticks = sum(_times(postmaster, ended=True))
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(_fields(status)[1]) == postmaster:
                ticks += sum(_times(int(status.parent.name), ended=False))
        except (OSError, ValueError, IndexError):
            continue  # it ended while we looked
    return ticks / _TICK


def _times(process: int, *, ended: bool) -> list[int]:
    fields = _fields(Path(f"/proc/{process}/stat"))
    return [int(value) for value in fields[11 : 15 if ended else 13]]


def _fields(status: Path) -> list[str]:
    """From the third field on: the second, the name, may hold spaces."""
    return status.read_text(encoding="utf-8").rpartition(")")[2].split()
