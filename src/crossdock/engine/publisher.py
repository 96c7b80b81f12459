"""The publisher: one planner that counts what channels should show, and a lane for each channel that tells it.

State travels as state. There is no queue: a row for each channel and SKU holds what is wanted and what was
acknowledged, and the lane sends where they differ. A channel that was away for a day gets the present, one figure for
each SKU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import asyncpg
import structlog

from crossdock.engine.ports import Clock, OpenConnection
from crossdock.engine.publication_lane import PublicationLane, Sampled
from crossdock.engine.publication_planner import PublicationPlanner
from crossdock.ledger import publications as ledger
from crossdock.model.errors import Misconfigured
from crossdock.policy.policy import Policy

BACKLOG: Final = 900
_log: Final = structlog.get_logger("crossdock.engine.publisher")


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long there is nothing to do before it is looked again: from the first to the second, longer each time."""

    planner_seconds: tuple[float, float] = (0.02, 0.1)
    lane_seconds: tuple[float, float] = (0.02, 0.25)
    stale_watch_seconds: float = 5.0


class Publisher:
    """One per worker process. `run` goes on until cancelled; of several workers one holds each lane."""

    def __init__(
        self, pool: asyncpg.Pool[Any], connections: Sequence[OpenConnection], policy: Policy, worker: str,
        clock: Clock, pauses: Pauses = Pauses(),
    ) -> None:  # fmt: skip
        self._pool = pool
        self._pauses = pauses
        self._policy = policy
        self._clock = clock
        by_name = {row.name: row for row in connections}
        self._lanes = {lane.channel: lane for lane in _open_lanes(pool, by_name, policy, worker, clock)}
        self._planner = PublicationPlanner(pool, policy, list(self._lanes), clock, self._announce)

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self._lanes)

    @property
    def calls_per_second(self) -> dict[str, Decimal]:
        """Channel -> the pace of its lane."""
        return {channel: lane.pace.calls_per_second for channel, lane in self._lanes.items()}

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._plan_forever(), name="publication planner")
                tasks.create_task(self._watch_forever(), name="stale watch")
                for lane in self._lanes.values():
                    tasks.create_task(self._tell_forever(lane), name=f"lane {lane.channel}")
        finally:
            for lane in self._lanes.values():
                await self._give_back(lane)

    async def sample(self, channel: str, skus: Sequence[str]) -> list[Sampled]:
        """What we believe and what the channel shows now. Raises CrossdockError when the channel does not answer."""
        lane = self._lanes.get(channel)
        if lane is None:
            raise Misconfigured("channel_untold", f"The channel {channel} is not told any stock.")
        return await lane.sample(skus)

    async def _plan_forever(self) -> None:
        ready = False
        least, most = self._pauses.planner_seconds
        wait = least
        while True:
            if not ready:
                ready = await self._survive(self._place_lanes, "lanes_failed")
            counted = await self._survive(self._planner.count_changes, "planner_failed")
            wait = least if counted else min(wait * 1.5, most)
            # Also after work: what changes meanwhile is counted together. A backlog is worked off without a pause.
            await asyncio.sleep(0 if (counted or 0) >= BACKLOG else wait)

    async def _watch_forever(self) -> None:
        while True:
            await self._survive(self._planner.watch_stale, "stale_watch_failed")
            await asyncio.sleep(self._pauses.stale_watch_seconds)

    async def _tell_forever(self, lane: PublicationLane) -> None:
        least, most = self._pauses.lane_seconds
        wait = least
        while True:
            lane.news.clear()
            if await self._survive(lane.turn, "lane_failed"):
                wait = least
                continue
            # Not `wait_for`: on Python 3.11 it can swallow a cancellation, and the worker would never stop.
            try:
                async with asyncio.timeout(wait):
                    await lane.news.wait()
                wait = least
            except TimeoutError:
                wait = min(wait * 1.5, most)

    async def _place_lanes(self) -> bool:
        paces = {channel: lane.pace for channel, lane in self._lanes.items()}
        async with self._pool.acquire() as connection, connection.transaction():
            if await ledger.place_lanes(connection, paces, self._policy.version, self._clock()):
                _log.info("counting_everything", channels=sorted(paces))
        return True

    async def _survive(self, work: Callable[[], Awaitable[Any]], event: str) -> Any:
        """A lost database is waited for, and a bug in one lane is not the end of the worker."""
        try:
            return await work()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            _log.warning(event, error=type(error).__name__)
            await asyncio.sleep(0.5)
        except Exception as error:  # noqa: BLE001 - the other lanes go on
            _log.error(event, error=repr(error))
            await asyncio.sleep(1.0)
        return None

    async def _give_back(self, lane: PublicationLane) -> None:
        try:
            await lane.give_back()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            _log.warning("lane_not_given_back", channel=lane.channel, error=type(error).__name__)

    def _announce(self, channel: str) -> None:
        self._lanes[channel].news.set()


def _open_lanes(
    pool: asyncpg.Pool[Any], connections: dict[str, OpenConnection], policy: Policy, worker: str, clock: Clock
) -> list[PublicationLane]:
    found = []
    for channel, stock in policy.stock.channels.items():
        rules = policy.channels.get(channel)
        partner = connections.get(rules.connection) if rules is not None else None
        if stock.publish and partner is not None and partner.connector.stock is not None:
            divides = any(channel in group for group in policy.stock.divided())
            found.append(PublicationLane(
                pool, channel, partner, partner.connector.stock, stock, worker, clock, divides=divides
            ))  # fmt: skip
    return found
