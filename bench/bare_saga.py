"""The baseline: a set-based saga on bare PostgreSQL without any domain. Accept, five deliveries, completion.

Orders arrive in batches of up to 200 as they do at our intake, unique by their number; deliveries are claimed and
recorded up to 1,000 at a time. Each claim and each record is a commit of its own: what is sent was promised before,
what was answered is kept.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

from crossdock.ledger.database import open_pool

ACCEPT_BATCH = 200
WARM_UP = 200
CLAIM_BATCH = 1000
_TEXT = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
_PARTS = re.split(r"^-- name: (\w+)\s*$", _TEXT, flags=re.MULTILINE)[1:]
_SQL = dict(zip(_PARTS[::2], _PARTS[1::2], strict=True))


async def run_bare_saga(dsn: str, orders: int, body: bytes) -> float:
    """Orders a second, from the first arrival to the last completion."""
    pool = await open_pool(dsn, size=4)
    await pool.execute(_SQL["schema"])
    await _measure(pool, range(WARM_UP), body)
    seconds = await _measure(pool, range(WARM_UP, WARM_UP + orders), body)
    await pool.close()
    return orders / seconds


async def _measure(pool: Any, numbers: range, body: bytes) -> float:
    started = time.perf_counter()
    accepting = asyncio.create_task(_accept(pool, numbers, body))
    completed = 0
    log: list[tuple[int, int]] = []
    while completed < len(numbers):
        completed += await _deliver(pool, log)
    seconds = time.perf_counter() - started
    await accepting
    if len(log) != 5 * len(numbers):
        raise RuntimeError(f"{len(log)} deliveries of {5 * len(numbers)}")
    return seconds


async def _accept(pool: Any, numbers: range, body: bytes) -> None:
    for start in range(0, len(numbers), ACCEPT_BATCH):
        ids = list(numbers[start : start + ACCEPT_BATCH])
        await pool.execute(_SQL["accept"], ids, [f"SAGA-{number}" for number in ids], [body] * len(ids))


async def _deliver(pool: Any, log: list[tuple[int, int]]) -> int:
    """Claim, send and record one batch; return how many orders it completed."""
    claimed = await pool.fetch(_SQL["claim"], CLAIM_BATCH)
    if not claimed:
        await asyncio.sleep(0.001)
        return 0
    sent = [(row[0], row[1]) for row in claimed]
    log.extend(sent)
    ended = await pool.fetch(
        _SQL["record"], [order for order, _ in sent], [place for _, place in sent], [b"{}"] * len(sent)
    )
    return sum(row[0] for row in ended)
