"""What all nemeses have in common, and how several of them strike at once, each from its own chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol


class Nemesis(Protocol):
    """`strike` does one thing and has mended it when it returns, also when it is cancelled. `rest_seconds`: how long
    it waits between two, at least and at most."""

    name: str
    rest_seconds: tuple[float, float]

    async def strike(self, chance: random.Random) -> None: ...


async def harass(nemeses: Sequence[Nemesis], seed: int, seconds: float, stop: asyncio.Event | None = None) -> None:
    """Let them all strike for so long, or until told to stop, independently of each other. All is mended then."""
    ends = asyncio.get_running_loop().time() + seconds
    stopped = stop or asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for nemesis in nemeses:
            tasks.create_task(_strike_until(nemesis, random.Random(f"{seed}/{nemesis.name}"), ends, stopped))


async def _strike_until(nemesis: Nemesis, chance: random.Random, ends: float, stopped: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    # The first strike comes early: a short run has all of them.
    rest = chance.uniform(0, min(nemesis.rest_seconds[0], max(0.0, ends - loop.time()) / 2))
    while loop.time() + rest < ends:
        with suppress(TimeoutError):
            async with asyncio.timeout(rest):
                await stopped.wait()
        if stopped.is_set():
            return
        await nemesis.strike(chance)
        rest = chance.uniform(*nemesis.rest_seconds)
