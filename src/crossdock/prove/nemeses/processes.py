"""Kill -9 and pause (SIGSTOP, SIGCONT) of any process: the API, workers (which also read the feeds), partners."""

from __future__ import annotations

import asyncio
import random

from crossdock.prove.estate import Estate
from crossdock.prove.nemeses.diary import MENDED, Diary


class Killer:
    """Kills one of ours or a partner; another of its kind is started, a partner with the storage that it had.
    `only_ours`: partners are spared."""

    name = "kill"

    def __init__(
        self, estate: Estate, diary: Diary, rest_seconds: tuple[float, float] = (2.0, 6.0), *, only_ours: bool = False
    ) -> None:
        self._estate, self._diary, self._only_ours = estate, diary, only_ours
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        names = self._estate.names()
        if self._only_ours:
            names = [name for name in names if name not in self._estate.partners]
        name = chance.choice(names)
        if name in self._estate.partners:
            self._diary.note(self.name, "kill_partner", name)
            await asyncio.to_thread(self._estate.kill_partner, name)
            await asyncio.sleep(chance.uniform(0, 1.5))
            await self._estate.restart_partner(name)
            self._diary.note(self.name, MENDED, name)
            return
        kind = name.partition("-")[0]
        self._diary.note(self.name, f"kill_{kind}", name)
        await asyncio.to_thread(self._estate.kill_named, name)
        await asyncio.sleep(chance.uniform(0, 1.5))
        self._diary.note(self.name, MENDED, await asyncio.to_thread(self._estate.start, kind))


class Pauser:
    """Stops a process for a while, so that the others may take it for dead."""

    name = "pause"

    def __init__(
        self, estate: Estate, diary: Diary, rest_seconds: tuple[float, float] = (2.0, 6.0), seconds_max: float = 12.0
    ) -> None:
        self._estate, self._diary = estate, diary
        self._seconds_max = seconds_max
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        name = chance.choice(self._estate.names())
        kind = "partner" if name in self._estate.partners else name.partition("-")[0]
        seconds = round(chance.uniform(0.5, self._seconds_max), 2)
        self._diary.note(self.name, f"pause_{kind}", name, f"{seconds} s")
        process = self._estate.pause(name)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._estate.go_on(process)
            self._diary.note(self.name, MENDED, name)
