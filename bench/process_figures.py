"""What processes use, read from /proc: processor seconds and resident memory, also of a whole PostgreSQL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import asyncpg

_TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 2**20
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds since a process began (with those of its ended children), and bytes resident now."""

    seconds: float
    resident: int


def usage_of(pid: int) -> Usage:
    """Raises FileNotFoundError when the process has ended."""
    fields = _fields(pid)
    # utime, stime, cutime, cstime are fields 14 to 17 of the line, rss is 24; two are cut off before.
    return Usage(sum(int(value) for value in fields[11:15]) / _TICKS, int(fields[21]) * _PAGE)


def usage_of_postgres(postmaster: int) -> float:
    """Processor seconds of a PostgreSQL server: the postmaster, its ended children and its living ones."""
    seconds = usage_of(postmaster).seconds
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = _fields(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == postmaster:
                seconds += sum(int(value) for value in fields[11:13]) / _TICKS
    return seconds


def memory_of_postgres(postmaster: int) -> int:
    """Bytes resident: what each process has for itself, and the shared buffers that any of them touched, once."""
    own, shared = 0, 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int(entry.name) != postmaster and int(_fields(int(entry.name))[1]) != postmaster:
                    continue
                found = _memory(entry)
            except (FileNotFoundError, ProcessLookupError):
                continue
            own += found.get("RssAnon", 0)
            shared = max(shared, found.get("RssShmem", 0))
    return own + shared


def _memory(entry: Path) -> dict[str, int]:
    lines = (entry / "status").read_text(encoding="utf-8").splitlines()
    return {name: 1024 * int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)
            if name.startswith("Rss")}  # fmt: skip


async def find_postmaster(dsn: str) -> int:
    """The postmaster's process id if the server runs on this machine, else 0."""
    connection = await asyncpg.connect(dsn)
    try:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        parent = int(_fields(backend)[1])
        return parent if _name(parent) == "postgres" else 0
    except (OSError, IndexError):
        return 0
    finally:
        await connection.close()


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name, which may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
