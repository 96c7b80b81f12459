"""Clocks that jump: a worker or an API process whose host's time of day is suddenly another.

Nothing in Crossdock is prepared for it: a small library (`shift_clock.c`, compiled here) is loaded before libc into
the processes of a proof and moves their time of day, also while they run. Timers go on as they do on a real host.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import struct
import subprocess
from importlib import resources
from pathlib import Path
from typing import Final

from crossdock.prove.estate import Manner
from crossdock.prove.nemeses.diary import MENDED, Diary

JUMPS_SECONDS: Final = (-86_400.0, -3_600.0, -120.0, -5.0, 5.0, 120.0, 3_600.0, 86_400.0)
_FILE: Final = "CROSSDOCK_PROVE_CLOCK"


class ShiftedClocks:
    """One clock for each kind of process: all workers of a proof are on one host, its APIs on another."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "clocks"
        self._library = self._directory / "shift_clock.so"
        self.kinds: list[str] = []

    def build(self) -> None:
        """Compile the library. Raises OSError when it cannot be."""
        self._directory.mkdir()
        source = self._directory / "shift_clock.c"
        source.write_text(resources.files(__package__).joinpath("shift_clock.c").read_text(encoding="utf-8"))
        compiler = find_compiler()
        if compiler is None:
            raise OSError("no C compiler")
        done = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", str(self._library), str(source), "-ldl"], check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise OSError(f"the clock does not compile: {done.stderr[-500:]}")

    def manner(self, kind: str) -> Manner:
        """How processes of this kind are started so that they read its clock."""
        self.kinds.append(kind)
        self.set(kind, 0.0)
        return Manner(environment={"LD_PRELOAD": str(self._library), _FILE: str(self._clock(kind))})

    def set(self, kind: str, seconds: float) -> None:
        """From now on this kind's clock is off by so many seconds. Written in place: the file is mapped by readers."""
        descriptor = os.open(self._clock(kind), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, struct.pack("=q", round(seconds * 1e9)), 0)
        finally:
            os.close(descriptor)

    def _clock(self, kind: str) -> Path:
        return self._directory / f"{kind}.clock"


def find_compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class ClockJump:
    """The time of day of all workers, or of the API, jumps and later jumps back."""

    name = "clock"

    def __init__(self, clocks: ShiftedClocks, diary: Diary, rest_seconds: tuple[float, float] = (2.0, 8.0)) -> None:
        self._clocks, self._diary = clocks, diary
        self.rest_seconds = rest_seconds

    async def strike(self, chance: random.Random) -> None:
        kind, jump = chance.choice(self._clocks.kinds), chance.choice(JUMPS_SECONDS)
        seconds = round(chance.uniform(1, 10), 2)
        self._diary.note(self.name, "clock_jump", kind, f"{jump:+.0f} s for {seconds} s")
        self._clocks.set(kind, jump)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._clocks.set(kind, 0.0)
            self._diary.note(self.name, MENDED, kind)
