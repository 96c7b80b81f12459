"""Bad links between Crossdock and each partner, between partners and the API, and between Crossdock and PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from crossdock.prove.nemeses.diary import MENDED, Diary
from crossdock.prove.nemeses.link import FAIR, Link, OneShot, Weather

DATABASE: Final = "database"
API: Final = "api"
SECONDS: Final = (0.5, 8.0)

WEATHERS: Final[Mapping[str, Callable[[random.Random], Weather]]] = {
    "latency": lambda chance: Weather(latency_seconds=chance.uniform(0.02, 0.4)),
    "jitter": lambda chance: Weather(jitter_seconds=chance.uniform(0.05, 0.8)),
    "bandwidth": lambda chance: Weather(bytes_per_second=chance.choice((4_000, 20_000, 100_000))),
    "black_hole": lambda _chance: Weather(black_hole=True),
    "half_open": lambda _chance: Weather(half_open=True),
    "refuse": lambda _chance: Weather(refuse=True),
    "slow_close": lambda chance: Weather(slow_close_seconds=chance.uniform(0.5, 3)),
}
"""Fault -> how the link is while it lasts."""
ONE_SHOTS: Final[tuple[OneShot, ...]] = ("drop_answer", "truncate_answer", "duplicate_request")
# A PostgreSQL session has no requests that could come twice, and its bytes are checked by nobody: TCP itself does.
NOT_TO_DATABASE: Final = frozenset({"truncate_answer", "duplicate_request", "half_open"})
# Only our own door must bear a request that the network delivers twice: it is unique by its key. Partners have their
# own fault for it, which leaves out what they count each time.
ONLY_TO_API: Final = frozenset({"duplicate_request"})
FAULTS: Final = (*WEATHERS, *ONE_SHOTS, "reset")


class BadLinks:
    """Makes one link bad for a while."""

    name = "network"

    def __init__(
        self, links: Sequence[Link], diary: Diary, rest_seconds: tuple[float, float] = (0.5, 3.0),
        faults: Sequence[str] = FAULTS,
    ) -> None:  # fmt: skip
        self._links, self._diary, self._faults = links, diary, faults
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        link = chance.choice(self._links)
        fitting = [fault for fault in self._faults if fits(fault, link.name)]
        if not fitting:
            return
        fault, seconds = chance.choice(fitting), round(chance.uniform(*SECONDS), 2)
        if fault == "reset":
            self._diary.note(self.name, fault, link.name, f"{link.reset()} connections")
        elif fault in WEATHERS:
            await self._bear(link, fault, WEATHERS[fault](chance), seconds)
        else:
            one_shot = next(one for one in ONE_SHOTS if one == fault)
            link.happened = lambda what: self._diary.note(self.name, what, link.name)
            link.arrange(one_shot, chance.randint(1, 5))

    async def _bear(self, link: Link, fault: str, weather: Weather, seconds: float) -> None:
        self._diary.note(self.name, fault, link.name, f"{seconds} s")
        link.follow(weather)
        try:
            await asyncio.sleep(seconds)
        finally:
            link.follow(FAIR)
            if weather.half_open:
                # What was lost on the way does not come any more: nobody waits for the rest of an answer.
                link.reset()
            self._diary.note(self.name, MENDED, link.name)


def fits(fault: str, link: str) -> bool:
    if link == DATABASE:
        return fault not in NOT_TO_DATABASE
    return link == API or fault not in ONLY_TO_API
