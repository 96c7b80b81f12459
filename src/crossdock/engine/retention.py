"""The sweep: what the policy no longer keeps is deleted, in small batches, beside the daily work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import asyncpg

from crossdock.engine.ports import Clock
from crossdock.ledger.facts import forget_state_facts
from crossdock.policy.retention import RetentionPolicy

BATCH_MAX: Final = 1000
BATCHES_MAX: Final = 20


class Sweeper:
    """Any number may run: each takes rows that no other has locked."""

    def __init__(self, pool: asyncpg.Pool[Any], policy: RetentionPolicy, clock: Clock) -> None:
        self._pool = pool
        self._policy = policy
        self._clock = clock

    async def sweep(self) -> int:
        """Delete what is too old, up to a bound; return how much that was."""
        before = self._clock() - timedelta(hours=self._policy.state_facts_hours)
        swept = 0
        for _ in range(BATCHES_MAX):
            # A transaction a batch: nobody waits long for a lock or for the log.
            async with self._pool.acquire() as connection:
                count = await forget_state_facts(connection, before, BATCH_MAX)
            swept += count
            if count < BATCH_MAX:
                break
        return swept
