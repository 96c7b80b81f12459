"""Polled pages in disorder: items in another order, items again, a page as it was told a while ago.

A page is an answer with a list in it and a word on how to go on. Other lists are left alone: they are what a partner is
asked by business key, and a partner that forgets what it committed can be asked by nobody.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any, Final

import msgspec

from crossdock.sandbox.faults import PageFate

GOING_ON: Final = frozenset({"cursor", "next", "next_cursor", "more", "has_more"})
LISTS_MAX: Final = 100
ITEMS_MAX: Final = 200
REPEATED_MAX: Final = 5


class PageMemory:
    """What this partner's pages held before."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self._items: dict[str, deque[Any]] = {}

    def disordered(self, path: str, question: str, body: bytes, fate: PageFate, chance: random.Random) -> bytes:
        """The page as the caller is told it. `question` is the whole address, `path` the list that it pages through."""
        page = _page(body)
        if page is None:
            return body
        document, name = page
        before = self._answers.get(question)
        if len(self._answers) < LISTS_MAX or question in self._answers:
            self._answers[question] = body
        if fate.stale and before is not None:
            return before
        items = document[name]
        told = list(items)
        if fate.repeat:
            told += chance.sample(items, min(REPEATED_MAX, len(items)))
        # Where one `as_of` speaks for the whole page, an old item under it would be a lie and no disorder.
        if "as_of" not in document:
            earlier = self._items.setdefault(path, deque(maxlen=ITEMS_MAX))
            if fate.repeat:
                told += chance.sample(list(earlier), min(REPEATED_MAX, len(earlier)))
            earlier.extend(items)
        if fate.reorder:
            chance.shuffle(told)
        return msgspec.json.encode({**document, name: told})


def _page(body: bytes) -> tuple[dict[str, Any], str] | None:
    document = msgspec.json.decode(body)
    if not isinstance(document, dict) or not GOING_ON & document.keys():
        return None
    lists = [name for name, value in document.items() if isinstance(value, list)]
    return (document, lists[0]) if len(lists) == 1 else None
