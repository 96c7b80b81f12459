"""Make what fails as small as it can be: parts are left out while the run without them still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Part = TypeVar("Part")


def leave_out(
    parts: Sequence[Part], still_fails: Callable[[tuple[Part, ...]], bool], runs_max: int
) -> tuple[Part, ...]:
    """The parts that are needed: halves are tried first, then quarters, then each by itself.

    A part goes only when a run without it was seen to fail, so a run that does not repeat exactly leaves more, never
    too few.
    """
    kept = tuple(parts)
    runs = 0
    for size in dict.fromkeys((len(kept) // 2, len(kept) // 4, 1)):
        first = 0
        while size and first < len(kept) and runs < runs_max:
            fewer = kept[:first] + kept[first + size :]
            runs += 1
            if still_fails(fewer):
                kept = fewer
            else:
                first += size
    return kept


def make_fewer(number: int, least: int, still_fails: Callable[[int], bool], runs_max: int) -> int:
    """The smallest number that was seen to fail, by halving."""
    for _ in range(runs_max):
        half = max(number // 2, least)
        if half == number or not still_fails(half):
            break
        number = half
    return number
