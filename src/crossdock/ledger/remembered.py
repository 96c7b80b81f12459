"""A bounded memory that never pauses: what is asked for stays, what is not is forgotten, a little at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

DRAWER_SIZE: Final = 8192
"""Values are kept in drawers of at most this size: growing or emptying one takes well below a millisecond, where one
table of a million values stops everything for a hundred."""
Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """At most `kept_max` values. Half of them are kept for sure of what was asked for last; what was not asked for
    while as many others were is forgotten."""

    def __init__(self, kept_max: int) -> None:
        self._count = max(kept_max // DRAWER_SIZE, 1)
        self._half = max(kept_max // self._count // 2, 1)
        self.clear()

    @property
    def is_empty(self) -> bool:
        return not any(self._recent) and not any(self._earlier)

    def count(self) -> int:
        return sum(
            len(recent.keys() | earlier.keys()) for recent, earlier in zip(self._recent, self._earlier, strict=True)
        )

    def find(self, key: str) -> Value | None:
        drawer = hash(key) % self._count
        found = self._recent[drawer].get(key)
        if found is None:
            found = self._earlier[drawer].pop(key, None)
            if found is not None:
                self.keep(key, found)
        return found

    def keep(self, key: str, value: Value) -> None:
        drawer = hash(key) % self._count
        if len(self._recent[drawer]) >= self._half:
            self._earlier[drawer], self._recent[drawer] = self._recent[drawer], {}
        self._recent[drawer][key] = value

    def forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            drawer = hash(key) % self._count
            self._recent[drawer].pop(key, None)
            self._earlier[drawer].pop(key, None)

    def clear(self) -> None:
        self._recent: list[dict[str, Value]] = [{} for _ in range(self._count)]
        self._earlier: list[dict[str, Value]] = [{} for _ in range(self._count)]
