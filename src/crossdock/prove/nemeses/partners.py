"""Partners that misbehave by themselves: HTTP answered badly, late, twice or not at all; callbacks in any order.

They do it by their own fault plan (`PUT /_faults`): only they know when their work is committed.
"""

from __future__ import annotations

import asyncio
import random

from crossdock.prove.estate import Estate
from crossdock.prove.nemeses.diary import MENDED, Diary
from crossdock.prove.real_world import faults_of


class Misbehaviour:
    """One partner at a time follows a plan in which everything goes wrong now and then, or is away altogether."""

    name = "partners"

    def __init__(self, estate: Estate, diary: Diary, rest_seconds: tuple[float, float] = (0.2, 2.0)) -> None:
        self._estate, self._diary = estate, diary
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        kind = chance.choice(sorted(self._estate.partners))
        is_down = chance.random() < 0.15
        plan = {"down": True, "paths": "^/(api|v1)"} if is_down else faults_of(kind, chance.randrange(10**6))
        seconds = round(chance.uniform(2, 5) if is_down else chance.uniform(4, 12), 2)
        await self._estate.insist(kind, "PUT", "/_faults", plan)
        self._diary.note(self.name, "partner_down" if is_down else "partner_misbehaves", kind, f"{seconds} s")
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._estate.insist(kind, "PUT", "/_faults", {})
            self._diary.note(self.name, MENDED, kind)
