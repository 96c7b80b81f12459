"""The step runner: claims due steps, calls connectors, records what became of them.

Three laws live here. The intent is committed before the call (`claim_steps` commits *sending*). An ambiguous end is a
state (*in doubt*): after the partner has settled, the connector probes by business key before anything is sent again.
Outcomes are facts: they are decided together with their orders in one transaction, many at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.engine.batching import DATABASE_LOST
from crossdock.engine.clock import in_step
from crossdock.engine.ports import Chance, Clock, OpenConnection
from crossdock.engine.recorder import Ended, Recorder
from crossdock.kit.connector import Call, Done, Operation
from crossdock.ledger import steps as ledger
from crossdock.ledger.steps import ClaimedStep
from crossdock.model.errors import Conflict, CrossdockError, Defect, InDoubt, Invalid, Misconfigured, Refused

IDLE_SECONDS: Final = 0.05
RECORD_BATCH_MAX: Final = 1000
# A commit costs the same for one step as for many: while little is there, more is waited for, a few milliseconds.
LINGER_SECONDS: Final = 0.004
LITTLE: Final = 100
# How often it is looked at who has the lanes that only one worker performs.
HOLD_SECONDS: Final = timedelta(seconds=1)
LEASE_MARGIN: Final = timedelta(seconds=15)
_ONE_VALUE: Final = msgspec.json.Decoder(msgspec.Raw)
_log: Final = structlog.get_logger("crossdock.engine.runner")


@dataclass(frozen=True, slots=True)
class _Lane:
    connection: OpenConnection
    operation: Operation

    @property
    def key(self) -> tuple[str, str]:
        return self.connection.name, self.operation.name


class Runner:
    """One per worker process. `run` goes on until cancelled; steps in flight then end in doubt and are probed."""

    def __init__(
        self, pool: asyncpg.Pool[Any], connections: Sequence[OpenConnection], recorder: Recorder, worker: str,
        clock: Clock, chance: Chance, idle_seconds: float = IDLE_SECONDS,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._idle_seconds = idle_seconds
        self._recorder = recorder
        self._worker = worker
        self._clock = clock
        self._chance = chance
        lanes = [
            _Lane(connection, operation) for connection in connections for operation in connection.connector.operations
        ]
        self._lanes: Mapping[tuple[str, str], _Lane] = {lane.key: lane for lane in lanes}
        self._single = [lane.key for lane in lanes if lane.operation.one_worker]
        self._held: frozenset[tuple[str, str]] = frozenset()
        self._held_at: datetime | None = None
        self._in_flight: Counter[tuple[str, str]] = Counter()
        self._in_hand: set[tuple[int, str, int]] = set()
        self._is_unsure = False
        self._ended: asyncio.Queue[Ended] = asyncio.Queue()
        self._room = asyncio.Event()
        self.performed = 0

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            tasks.create_task(self._record_forever(), name="recorder")
            await self._claim_forever(tasks)

    async def _claim_forever(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._room.clear()
            try:
                claimed = await self._claim()
            except DATABASE_LOST as error:
                _log.warning("claim_failed", error=type(error).__name__)
                claimed = []
                # It may have been committed and its answer lost: then nobody would send these until the leases end.
                self._is_unsure = True
                await asyncio.sleep(0.5)
            for lane, steps in self._by_lane(claimed):
                for start in range(0, len(steps), lane.operation.batch_max):
                    batch = steps[start : start + lane.operation.batch_max]
                    self._in_flight[lane.key] += len(batch)
                    tasks.create_task(self._perform(lane, batch))
            if not claimed:
                # Not `wait_for`: on Python 3.11 it can swallow a cancellation, and the worker would never stop.
                try:
                    async with asyncio.timeout(self._idle_seconds):
                        await self._room.wait()
                except TimeoutError:
                    continue
            elif len(claimed) < LITTLE:
                await asyncio.sleep(LINGER_SECONDS)

    async def _claim(self) -> list[tuple[ClaimedStep, Mapping[str, bytes]]]:
        await self._hold_lanes()
        wanted = []
        longest = 0.0
        for lane in self._lanes.values():
            free = self._free_slots(lane)
            if free > 0 and (not lane.operation.one_worker or lane.key in self._held):
                wanted.append((*lane.key, free, lane.operation.one_worker))
                longest = max(longest, lane.operation.timeout_seconds)
        if not wanted:
            return []
        async with self._pool.acquire() as connection:
            # Only now: a connection may have been waited for, and a claim counts as a sign of life of its moment.
            await in_step(self._clock, connection)
            now = self._clock()
            if self._is_unsure:
                unheard = await ledger.give_back_claims(connection, self._worker, self._in_hand, now)
                _log.info("claims_given_back", steps=unheard)
                self._is_unsure = False
            # Probe and call may each take the operation's timeout.
            leased_until = now + timedelta(seconds=2 * longest) + LEASE_MARGIN
            steps = await ledger.claim_steps(connection, self._worker, now, leased_until, wanted)
            needy = {step.order_id for step in steps if step.needy}
            results = await ledger.read_results(connection, sorted(needy)) if needy else {}
        self._in_hand.update(ledger.attempt_of(step) for step in steps)
        return [(step, results.get(step.order_id, {})) for step in steps]

    async def _hold_lanes(self) -> None:
        """Take or keep the lanes that one worker at a time performs; a worker that dies loses them."""
        now = self._clock()
        if not self._single or (self._held_at is not None and now - self._held_at < HOLD_SECONDS):
            return
        # Not known until it is read: a worker whose database was away may have lost them.
        self._held = frozenset()
        async with self._pool.acquire() as connection:
            await in_step(self._clock, connection)
            now = self._clock()
            self._held = await ledger.hold_lanes(connection, self._worker, self._single, now)
        self._held_at = now

    def _free_slots(self, lane: _Lane) -> int:
        slots = lane.operation.batch_max * min(lane.operation.concurrency, lane.connection.concurrency)
        return slots - self._in_flight[lane.key]

    def _by_lane(
        self, claimed: Sequence[tuple[ClaimedStep, Mapping[str, bytes]]]
    ) -> list[tuple[_Lane, list[tuple[ClaimedStep, Mapping[str, bytes]]]]]:
        found: dict[tuple[str, str], list[tuple[ClaimedStep, Mapping[str, bytes]]]] = {}
        for item in claimed:
            found.setdefault((item[0].connection, item[0].operation), []).append(item)
        return [(self._lanes[key], steps) for key, steps in found.items()]

    async def _perform(self, lane: _Lane, batch: Sequence[tuple[ClaimedStep, Mapping[str, bytes]]]) -> None:
        """Perform a batch; every step of it ends in the queue, whatever happens."""
        started = self._clock()
        calls = [_call(step, results) for step, results in batch]
        try:
            answers = await self._answers(lane, calls, [step.doubt for step, _ in batch])
        except Exception as error:  # noqa: BLE001 - a connector's bug parks its own steps, nobody else's
            _log.error("connector_defect", connection=lane.connection.name, operation=lane.operation.name,
                       error=type(error).__name__)  # fmt: skip
            # A write may have happened before the bug: it is in doubt, and the probe tells.
            defect: CrossdockError = InDoubt(
                "connector_defect", "The connector failed in an unforeseen way.", detail=repr(error)
            )
            if lane.operation.repeatable:
                defect = Defect("connector_defect", "The connector failed in an unforeseen way.", detail=repr(error))
            answers = [defect] * len(batch)
        ended_at = self._clock()
        for (step, _), call, answer in zip(batch, calls, answers, strict=True):
            self._ended.put_nowait(Ended(step, lane.operation, answer, tuple(call.exchanges), started, ended_at))
        if self._free_slots(lane) <= 0:
            self._room.set()
        self._in_flight[lane.key] -= len(batch)
        self.performed += len(batch)

    async def _answers(
        self, lane: _Lane, calls: Sequence[Call], doubts: Sequence[bool]
    ) -> Sequence[Done | CrossdockError]:
        operation, client = lane.operation, lane.connection.client
        answers: list[Done | CrossdockError | None] = [None] * len(calls)
        if any(doubts) and operation.probe is not None:
            probed = await asyncio.gather(
                *(
                    _probe(operation, client, call) if doubt else _nothing()
                    for call, doubt in zip(calls, doubts, strict=True)
                )
            )
            answers = list(probed)
        to_send = [index for index, answer in enumerate(answers) if answer is None]
        if to_send and operation.perform_many is not None:
            sent = await _many(operation, client, [calls[index] for index in to_send])
        else:
            sent = await asyncio.gather(*(_one(operation, client, calls[index]) for index in to_send))
        for index, answer in zip(to_send, sent, strict=True):
            answers[index] = answer
        return [_sound(operation, answer) for answer in answers]

    async def _record_forever(self) -> None:
        while True:
            ended = [await self._ended.get()]
            if self._ended.qsize() < LITTLE and self._in_flight.total():
                await asyncio.sleep(LINGER_SECONDS)
            while len(ended) < RECORD_BATCH_MAX and not self._ended.empty():
                ended.append(self._ended.get_nowait())
            await self._record(ended)
            self._room.set()

    async def _record(self, ended: Sequence[Ended]) -> None:
        for attempt in range(100):
            try:
                await self._recorder.record(self._worker, ended)
                self._in_hand.difference_update(ledger.attempt_of(item.step) for item in ended)
                return
            except DATABASE_LOST as error:
                # The leases hold meanwhile; should they run out, the steps are in doubt and the probe tells.
                _log.warning("record_failed", error=type(error).__name__, steps=len(ended), attempt=attempt)
                await asyncio.sleep(min(0.1 * 2**attempt, 2.0))


def _call(step: ClaimedStep, results: Mapping[str, bytes]) -> Call:
    return Call(
        key=f"{step.number}/{step.name}", number=step.number, name=step.name, operation=step.operation,
        order=step.order, payload=step.payload, results=results, attempt=step.attempt,
        traceparent=step.traceparent,
    )  # fmt: skip


def _sound(operation: Operation, answer: Done | CrossdockError | None) -> Done | CrossdockError:
    """The answer if it can be kept: a result that is no JSON would spoil what is written with it."""
    if answer is None:
        return Defect("no_answer", "The connector gave no answer.")
    if isinstance(answer, Done):
        try:
            _ONE_VALUE.decode(answer.result.decode())
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            message = "The connector's result is not JSON."
            if operation.repeatable:
                return Defect("result_malformed", message, detail=str(problem))
            return InDoubt("result_malformed", message, detail=str(problem))
    return answer


async def _nothing() -> None:
    return None


async def _probe(operation: Operation, client: Any, call: Call) -> Done | CrossdockError | None:
    """Done: it is there. None: it is not, send it. An error: not known, stay in doubt."""
    if operation.probe is None:
        return None
    try:
        async with asyncio.timeout(operation.timeout_seconds):
            return await operation.probe(client, call)
    except TimeoutError:
        return InDoubt("probe_timeout", "The partner did not say in time whether it has this.")
    except (Misconfigured, Defect) as error:
        return error
    except (Refused, Invalid, Conflict) as error:
        # To ask again brings the same answer, and what the plan does about a refusal must not follow: it may be there.
        return Conflict(
            error.code, f"The partner will not say whether it has this: {error.message}", detail=error.detail,
            next_action="Look it up at the partner, then replay the step.",
        )  # fmt: skip
    except CrossdockError as error:
        # Nobody knows yet: the doubt stays, and so does the partner's wish to wait.
        doubt = InDoubt(error.code, error.message, detail=error.detail)
        doubt.__cause__ = error
        return doubt


async def _one(operation: Operation, client: Any, call: Call) -> Done | CrossdockError:
    if operation.perform is None:
        return Defect("operation_empty", f"{operation.name} has nothing to perform.")
    try:
        async with asyncio.timeout(operation.timeout_seconds):
            return await operation.perform(client, call)
    except TimeoutError:
        return InDoubt("call_timeout", "The partner did not answer in time.")
    except CrossdockError as error:
        return error


async def _many(operation: Operation, client: Any, calls: Sequence[Call]) -> Sequence[Done | CrossdockError]:
    if operation.perform_many is None:
        return [Defect("operation_empty", f"{operation.name} has nothing to perform.")] * len(calls)
    try:
        async with asyncio.timeout(operation.timeout_seconds):
            return await operation.perform_many(client, calls)
    except TimeoutError:
        return [InDoubt("call_timeout", "The partner did not answer in time.")] * len(calls)
    except CrossdockError as error:
        return [error] * len(calls)
