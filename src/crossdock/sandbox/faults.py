"""The fault plan: how a partner misbehaves, drawn from a seed so that a run can be repeated."""

from __future__ import annotations

import random
import re
from typing import Annotated, Final, Literal

import msgspec

Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]
READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong and how often. Everything left out does not go wrong."""

    seed: int = 0
    commit_then_drop: Chance = 0.0  # the write is done, the caller never hears of it
    commit_then_500: Chance = 0.0  # the write is done, the caller is told that it failed
    duplicate: Chance = 0.0  # the network delivers the request twice
    delay_ms: tuple[int, int] = (0, 0)
    delay_after_commit: bool = False  # wait between commit and answer instead of before the work
    status_429: Chance = 0.0
    retry_after: float = 1.0
    status_503: Chance = 0.0
    status_500: Chance = 0.0  # nothing was done
    reset: Chance = 0.0  # the connection breaks, nothing was done
    truncate: Chance = 0.0  # done, but only half of the answer's body arrives
    down: bool = False
    paths: str = ""
    methods: tuple[str, ...] = ()
    webhook_duplicate: Annotated[int, msgspec.Meta(ge=0, le=20)] = 0
    webhook_reorder: bool = False
    webhook_drop: Chance = 0.0
    webhook_delay_ms: tuple[int, int] = (0, 0)


class Fate(msgspec.Struct, frozen=True):
    """What happens to one request."""

    before: Literal["go on", "reset", "429", "500", "503"] = "go on"
    after: Literal["answer", "drop", "500", "truncate"] = "answer"
    twice: bool = False
    delay_seconds: float = 0.0
    delay_after_commit: bool = False
    retry_after: float = 1.0


class WebhookFate(msgspec.Struct, frozen=True):
    """What happens to one outgoing webhook."""

    lost: bool = False
    copies: int = 1
    delay_seconds: float = 0.0


class Faults:
    """The plan in force and its own source of chance."""

    def __init__(self) -> None:
        self.plan = FaultPlan()
        self._chance = random.Random(0)
        self._paths = re.compile("")

    def follow(self, plan: FaultPlan) -> None:
        self._paths = re.compile(plan.paths)
        self._chance = random.Random(plan.seed)
        self.plan = plan

    def draw(self, method: str, path: str) -> Fate:
        plan = self.plan
        if plan.methods and method not in plan.methods:
            return Fate()
        if self._paths.search(path) is None:
            return Fate()
        if plan.down:
            return Fate(before="reset")
        writes = method not in READING_METHODS
        low, high = plan.delay_ms
        delay = self._chance.uniform(low, high) / 1000 if high else 0.0
        before: Literal["go on", "reset", "429", "500", "503"] = "go on"
        if self._happens(plan.reset):
            before = "reset"
        elif self._happens(plan.status_429):
            before = "429"
        elif self._happens(plan.status_503):
            before = "503"
        elif self._happens(plan.status_500):
            before = "500"
        after: Literal["answer", "drop", "500", "truncate"] = "answer"
        if writes and self._happens(plan.commit_then_drop):
            after = "drop"
        elif writes and self._happens(plan.commit_then_500):
            after = "500"
        elif self._happens(plan.truncate):
            after = "truncate"
        twice = writes and self._happens(plan.duplicate)
        return Fate(before, after, twice, delay, plan.delay_after_commit, plan.retry_after)

    def draw_webhook(self) -> WebhookFate:
        plan = self.plan
        low, high = plan.webhook_delay_ms
        delay = self._chance.uniform(low, high) / 1000 if high else 0.0
        if plan.webhook_reorder:
            delay += self._chance.uniform(0.0, 1.0)
        return WebhookFate(self._happens(plan.webhook_drop), 1 + plan.webhook_duplicate, delay)

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._chance.random() < chance
