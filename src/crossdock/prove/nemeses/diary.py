"""What each nemesis did and when: one file for each of them, and all of it for the verdict."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = "nemeses"


class Deed(msgspec.Struct, frozen=True):
    """`second` counts from the begin of the run."""

    second: float
    nemesis: str
    what: str
    target: str = ""
    detail: str = ""


class Diary:
    """Written at once: when the rig itself is killed, it is known up to which deed it came."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER
        self._folder.mkdir(exist_ok=True)
        self._started = time.monotonic()
        self.deeds: list[Deed] = []
        self.skipped: dict[str, str] = {}

    def note(self, nemesis: str, what: str, target: str = "", detail: str = "") -> None:
        deed = Deed(round(time.monotonic() - self._started, 2), nemesis, what, target, detail)
        self.deeds.append(deed)
        with (self._folder / f"{nemesis}.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(deed) + b"\n")

    def skip(self, nemesis: str, reason: str) -> None:
        """This machine does not permit it: the verdict says so."""
        self.skipped[nemesis] = reason

    def count(self) -> dict[str, int]:
        """Deeds by what they were; mending is not counted."""
        return dict(sorted(Counter(deed.what for deed in self.deeds if deed.what != MENDED).items()))


MENDED: Final = "mended"
