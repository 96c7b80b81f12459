"""Nemeses strike independently, the same from the same seed, and stop when they are told to."""

from __future__ import annotations

import asyncio
import random

from crossdock.prove.nemeses.nemesis import harass


class Counting:
    name = "counting"
    rest_seconds = (0.001, 0.005)

    def __init__(self, stop: asyncio.Event, strikes: int) -> None:
        self.drawn: list[float] = []
        self._stop, self._strikes = stop, strikes

    async def strike(self, chance: random.Random) -> None:
        self.drawn.append(chance.random())
        if len(self.drawn) == self._strikes:
            self._stop.set()


async def draw(seed: int) -> list[float]:
    stop = asyncio.Event()
    nemesis = Counting(stop, 5)
    await harass([nemesis], seed, 60, stop)
    return nemesis.drawn


async def test_the_same_seed_draws_the_same_and_stops_when_told() -> None:
    first = await draw(1)
    assert len(first) == 5
    assert await draw(1) == first
    assert await draw(2) != first


async def test_they_end_when_their_time_is_up() -> None:
    nemesis = Counting(asyncio.Event(), 10**6)
    await harass([nemesis], 1, 0.05)
    assert nemesis.drawn
