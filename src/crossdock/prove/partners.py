"""Simulated partners: each with its own storage, its own write log, its own delays, and faults by plan.

A partner is not idempotent: whoever asks twice has two effects in the log. A request that has left its sender arrives
whatever becomes of the sender.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

from crossdock.engine.ports import OpenConnection
from crossdock.kit.connector import Call, Connector, Done, Feed, Operation, StockLane
from crossdock.model.errors import CrossdockError, InDoubt, Misconfigured, Unavailable
from crossdock.prove.faults import ApiChanged, CallFault, MinuteLost, Plan
from crossdock.prove.history import Deed, Effect
from crossdock.prove.processes import Process
from crossdock.prove.virtual_time import VirtualLoop

Answer = TypeVar("Answer")
TIMEOUT_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 1.0
ASKED_SECONDS: Final = 0.5
"""So long a partner that answers 429 asks to be left alone."""
LATE_SECONDS: Final = 0.6
"""A slow partner commits so long after its caller gave up: within what it declared as its settling time."""

VERSION_GONE: Final = "partner_version_gone"

Serve = Callable[["SimulatedPartner", Call], tuple[Done, Effect]]
"""Do what was asked and say what it did; raises an error of the model when the business says no."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A simulated process's client of a partner."""

    process: Process
    partner: SimulatedPartner


class SimulatedPartner:
    """`log` is the outside evidence: what took effect, when, in the partner's own order."""

    def __init__(self, name: str, plan: Plan, loop: VirtualLoop, chance: random.Random) -> None:
        self.name = name
        self.loop = loop
        self.chance = chance
        self.log: list[Effect] = []
        self.answers: dict[str, Done] = {}
        self.lost: list[Effect] = []
        self.deeds: list[Deed] = []
        self._faults: Mapping[int, CallFault] = plan.calls(name)
        self._outages = plan.outages(name)
        self._changes = [change for change in plan.api_changes() if change.partner == name]
        self._not_before: dict[str, float] = {}
        self.complaints: list[str] = []
        self._calls = 0
        self._travelling: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        """Something that goes on at the partner, whoever may have died meanwhile."""
        task = self.loop.create_task(work)
        self._travelling.add(task)
        task.add_done_callback(self._travelling.discard)
        return task

    def begin_work(self, work: Coroutine[Any, Any, Any]) -> None:
        """Begin something that nobody waits for."""
        self._travelling.add(self.begin(work))

    def note(self, nemesis: str, what: str) -> None:
        self.deeds.append(Deed(round(self.loop.time(), 3), nemesis, f"{self.name} {what}"))

    def speaks_otherwise(self) -> ApiChanged | None:
        """The change of version that is in force now, if any."""
        now = self.loop.time()
        return next((change for change in self._changes if change.from_seconds <= now < change.until_seconds), None)

    async def lose(self, loss: MinuteLost) -> None:
        """Be set back: nobody here knows any more what was done last."""
        await asyncio.sleep(max(loss.at_seconds - self.loop.time(), 0))
        since = self.loop.now() - timedelta(seconds=loss.seconds)
        forgotten = [effect for effect in self.log if effect.at > since]
        self.log = [effect for effect in self.log if effect.at <= since]
        self.lost.extend(forgotten)
        for effect in forgotten:
            self.answers.pop(effect.key, None)
        self.note("minute_lost", f"forgets {len(forgotten)} effects of {loss.seconds} s")

    def has_forgotten(self, key: str) -> bool:
        return key not in self.answers and any(effect.key == key for effect in self.lost)

    async def call(self, process: Process, call: Call, serve: Serve) -> Done:
        fault = self._next_fault(call.key)
        if self.loop.time() < self._not_before.get(call.key, 0):
            self.complaints.append(f"{call.key} was sent again although {self.name} had asked to wait")
        await process.stand_still()
        await process.reach()
        await self._travel()
        if fault == "outage":
            raise Unavailable("partner_unreachable", "The partner cannot be reached.")
        if fault == "too_many":
            self._not_before[call.key] = self.loop.time() + ASKED_SECONDS
            raise Unavailable("too_many_requests", "Too many requests.", retry_after_seconds=ASKED_SECONDS)
        if fault == "unavailable":
            raise Unavailable("partner_unavailable", "The partner is being maintained.")
        if fault == "lose_request":
            raise InDoubt("connection_lost", "The connection was lost.")
        change = self.speaks_otherwise()
        if change is not None:
            self.note("api_changed", f"is asked {call.key} in its old version: {change.manner}")
            if change.manner == "refused":
                raise _version_gone()
        late = TIMEOUT_SECONDS + LATE_SECONDS if fault == "slow" else 0.0
        answer = await asyncio.shield(self.begin(self._serve(call, serve, late)))
        await self._travel()
        await process.stand_still()
        await process.reach()
        if change is not None:
            raise InDoubt("partner_answer_unexpected", "The partner answered in an unexpected way.")
        if fault in ("drop_answer", "garbled"):
            raise InDoubt("answer_lost" if fault == "drop_answer" else "answer_garbled", "The answer cannot be read.")
        if isinstance(answer, CrossdockError):
            raise answer
        return answer

    async def find(self, process: Process, call: Call) -> Done | None:
        fault = self._next_fault(call.key)
        await process.reach()
        await self._travel()
        change = self.speaks_otherwise()
        if change is not None:
            self.note("api_changed", f"is asked for {call.key} in its old version: {change.manner}")
            if change.manner == "refused":
                raise _version_gone()
            raise Unavailable("partner_answer_unexpected", "The partner answered in an unexpected way.")
        if fault is not None:
            raise Unavailable("partner_unavailable", f"The partner does not say: {fault}.")
        answer = self.answers.get(call.key)
        await process.reach()
        return answer

    async def _serve(self, call: Call, serve: Serve, late_seconds: float) -> Done | CrossdockError:
        await asyncio.sleep(late_seconds)
        try:
            answer, effect = serve(self, call)
        except CrossdockError as error:
            # Nothing took effect, so a probe finds nothing.
            return error
        self.log.append(effect)
        self.answers[call.key] = answer
        return answer

    async def _travel(self) -> None:
        await asyncio.sleep(self.chance.uniform(0.002, 0.08))

    def _next_fault(self, key: str) -> str | None:
        self._calls += 1
        for outage in self._outages:
            if outage.from_seconds <= self.loop.time() < outage.until_seconds:
                self.note("outage", f"is away for {key}")
                return "outage"
        fault = self._faults.get(self._calls)
        if fault is None:
            return None
        self.note(fault.kind, f"at {key}, its call {self._calls}")
        return fault.kind


def _version_gone() -> Misconfigured:
    return Misconfigured(
        VERSION_GONE, "The partner does not serve this version of its interface any more.",
        next_action="Install the connector's release for its new version, then replay.",
    )  # fmt: skip


@asynccontextmanager
async def _nothing(settings: Any) -> AsyncIterator[None]:
    yield None


async def _find(client: Caller, call: Call) -> Done | None:
    return await client.partner.find(client.process, call)


def declare(
    system: str, served: Mapping[str, Serve], feeds: tuple[Feed, ...] = (), stock: StockLane | None = None
) -> Connector:
    """A partner's declaration: every operation is probed when in doubt."""

    def performing(serve: Serve) -> Callable[[Caller, Call], Any]:
        async def perform(client: Caller, call: Call) -> Done:
            return await client.partner.call(client.process, call, serve)

        return perform

    operations = tuple(
        Operation(name, perform=performing(serve), probe=_find, settle_seconds=SETTLE_SECONDS,
                  timeout_seconds=TIMEOUT_SECONDS)
        for name, serve in served.items()
    )  # fmt: skip
    return Connector(system, system, settings=dict, open=_nothing, operations=operations, feeds=feeds, stock=stock)


def connect(
    connectors: Mapping[str, Connector], partners: Mapping[str, SimulatedPartner], process: Process,
    feed_seconds: Mapping[str, float],
) -> list[OpenConnection]:  # fmt: skip
    """A process's connections to all partners."""
    return [
        OpenConnection(name, connectors[name], Caller(process, partner), feed_seconds=feed_seconds)
        for name, partner in partners.items()
    ]
