"""The translator: parked arrivals that were replayed are translated again from the payload as it was received."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.engine.ports import Clock, OpenConnection
from crossdock.kit.arrivals import WEBHOOK, cause_of
from crossdock.ledger import facts as inbox
from crossdock.model.errors import CrossdockError, Invalid, Misconfigured, Unavailable
from crossdock.model.facts import UNTRANSLATED, Fact, Untranslated

IDLE_SECONDS: Final = 1.0
BATCH_MAX: Final = 20
TRANSLATE_SECONDS_MAX: Final = 15.0
_BODY: Final = msgspec.json.Decoder(Untranslated)
_log: Final = structlog.get_logger("crossdock.engine.translator")


class Translator:
    """Any number may run: who is second finds the arrival decided, and facts are unique."""

    def __init__(self, pool: asyncpg.Pool[Any], connections: Sequence[OpenConnection], clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._connections = {connection.name: connection for connection in connections}

    async def run(self) -> None:
        while True:
            try:
                count = await self.translate_waiting()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                _log.warning("translate_failed", error=type(error).__name__)
                count = 0
            if not count:
                await asyncio.sleep(IDLE_SECONDS)

    async def translate_waiting(self) -> int:
        """Translate a batch of replayed arrivals; return how many there were."""
        async with self._pool.acquire() as database:
            arrivals = await inbox.read_untranslated(database, list(self._connections), self._clock(), BATCH_MAX)
        for arrival in arrivals:
            try:
                facts = await self._translate(arrival)
            except Unavailable:
                # A thin webhook names what must be read at the partner, which does not answer now.
                async with self._pool.acquire() as database:
                    await inbox.postpone_fact(database, arrival.fact_id, self._clock(), seconds=10)
            except Exception as error:  # noqa: BLE001 - whatever a connector raises parks its own arrival
                await self._park(arrival, cause_of(error))
            else:
                await self._keep(arrival, facts)
        return len(arrivals)

    async def _translate(self, arrival: inbox.KeptArrival) -> Sequence[Fact]:
        opened = self._connections[arrival.connection]
        kept = _BODY.decode(arrival.body)
        if kept.source == WEBHOOK and opened.connector.webhook is not None:
            read = opened.connector.webhook.read(opened.client, opened.name, kept.headers, arrival.raw)
            try:
                async with asyncio.timeout(TRANSLATE_SECONDS_MAX):
                    return await read
            except TimeoutError:
                raise Unavailable("partner_silent", "What the webhook names could not be read in time.") from None
        feeds = {feed.name: feed for feed in opened.connector.feeds}
        feed = feeds.get(kept.source)
        if feed is None or feed.translate is None:
            raise Misconfigured(
                "translation_unknown", f"{opened.connector.title} cannot translate this again.",
                next_action="Ask the sender to send it again.",
            )  # fmt: skip
        return feed.translate(opened.name, arrival.raw)

    async def _park(self, arrival: inbox.KeptArrival, error: CrossdockError) -> None:
        async with self._pool.acquire() as database:
            await inbox.quarantine_fact(database, arrival.fact_id, error)

    async def _keep(self, arrival: inbox.KeptArrival, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if fact.kind == UNTRANSLATED and fact.raw == arrival.raw:
                why = _BODY.decode(fact.body)
                await self._park(arrival, Invalid(why.code, why.message, next_action=why.next_action))
                return
        async with self._pool.acquire() as database, database.transaction():
            await inbox.insert_facts(database, facts, self._clock())
            await inbox.mark_applied(database, [(arrival.fact_id, None, "applied" if facts else "ignored")])

