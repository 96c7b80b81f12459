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
    retry_after_left_out: Chance = 0.0  # of the 429 answers: they do not say how long to wait
    status_503: Chance = 0.0
    status_500: Chance = 0.0  # nothing was done
    reset: Chance = 0.0  # the connection breaks, nothing was done
    truncate: Chance = 0.0  # done, but only half of the answer's body arrives, as if it were the whole
    break_off: Chance = 0.0  # done, but the connection breaks in the middle of the answer's body
    wrong_content_type: Chance = 0.0  # done, but the answer calls itself a web page
    duplicate_paths: str = ""  # only these requests are delivered twice; no care is taken where a partner has none
    duplicate_answer: Chance = 0.0  # of the duplicates: the caller is told what the second one was answered
    callback_first: Chance = 0.0  # the webhooks that a request causes are delivered before its answer
    page_reorder: Chance = 0.0  # a polled page has its items in another order
    page_repeat: Chance = 0.0  # a polled page holds items twice, and again what an earlier page held
    page_stale: Chance = 0.0  # a polled page is told as it was told before
    stock_drop: Chance = 0.0  # a stock figure is answered as taken and forgotten
    stock_reject: Chance = 0.0  # of the figures of a batch: the item is rejected
    down: bool = False
    paths: str = ""
    methods: tuple[str, ...] = ()
    webhook_duplicate: Annotated[int, msgspec.Meta(ge=0, le=20)] = 0
    webhook_again: Chance = 0.0  # delivered and acknowledged, and delivered once more later
    webhook_reorder: bool = False
    webhook_drop: Chance = 0.0
    webhook_delay_ms: tuple[int, int] = (0, 0)


Before = Literal["go on", "reset", "429", "500", "503"]
After = Literal["answer", "drop", "500", "truncate", "break off", "wrong type"]

StockFate = Literal["take", "drop", "reject"]


class PageFate(msgspec.Struct, frozen=True):
    """What happens to a page of a polled list."""

    reorder: bool = False
    repeat: bool = False
    stale: bool = False


class Fate(msgspec.Struct, frozen=True):
    """What happens to one request. `retry_after` None: a 429 does not say how long to wait."""

    before: Before = "go on"
    after: After = "answer"
    twice: bool = False
    second_answer: bool = False
    callback_first: bool = False
    page: PageFate = PageFate()
    delay_seconds: float = 0.0
    delay_after_commit: bool = False
    retry_after: float | None = 1.0


class WebhookFate(msgspec.Struct, frozen=True):
    """What happens to one outgoing webhook."""

    lost: bool = False
    copies: int = 1
    again: bool = False
    delay_seconds: float = 0.0


class Faults:
    """The plan in force and its own source of chance."""

    def __init__(self) -> None:
        self.follow(FaultPlan())

    def follow(self, plan: FaultPlan) -> None:
        self._paths = re.compile(plan.paths)
        self._duplicate_paths = re.compile(plan.duplicate_paths)
        self.chance = random.Random(plan.seed)
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
        delay = self.chance.uniform(low, high) / 1000 if high else 0.0
        before, after = self._draw_before(), self._draw_after(writes=writes)
        twice = writes and self._happens(plan.duplicate) and self._duplicate_paths.search(path) is not None
        return Fate(
            before, after, twice,
            second_answer=twice and self._happens(plan.duplicate_answer),
            callback_first=writes and self._happens(plan.callback_first),
            page=PageFate() if writes else self._draw_page(),
            delay_seconds=delay, delay_after_commit=plan.delay_after_commit,
            retry_after=None if before == "429" and self._happens(plan.retry_after_left_out) else plan.retry_after,
        )  # fmt: skip

    def draw_webhook(self) -> WebhookFate:
        plan = self.plan
        low, high = plan.webhook_delay_ms
        delay = self.chance.uniform(low, high) / 1000 if high else 0.0
        if plan.webhook_reorder:
            delay += self.chance.uniform(0.0, 1.0)
        lost, again = self._happens(plan.webhook_drop), self._happens(plan.webhook_again)
        return WebhookFate(lost, 1 + plan.webhook_duplicate, again, delay)

    def stock_fate(self) -> StockFate:
        """What happens to one stock figure of a request that is answered."""
        if self._happens(self.plan.stock_drop):
            return "drop"
        return "reject" if self._happens(self.plan.stock_reject) else "take"

    def _draw_before(self) -> Before:
        plan = self.plan
        if self._happens(plan.reset):
            return "reset"
        if self._happens(plan.status_429):
            return "429"
        if self._happens(plan.status_503):
            return "503"
        return "500" if self._happens(plan.status_500) else "go on"

    def _draw_after(self, *, writes: bool) -> After:
        plan = self.plan
        if writes and self._happens(plan.commit_then_drop):
            return "drop"
        if writes and self._happens(plan.commit_then_500):
            return "500"
        if self._happens(plan.truncate):
            return "truncate"
        if self._happens(plan.break_off):
            return "break off"
        return "wrong type" if self._happens(plan.wrong_content_type) else "answer"

    def _draw_page(self) -> PageFate:
        plan = self.plan
        return PageFate(
            self._happens(plan.page_reorder), self._happens(plan.page_repeat), self._happens(plan.page_stale)
        )

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self.chance.random() < chance
