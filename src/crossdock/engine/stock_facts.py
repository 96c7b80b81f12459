"""The stock desk: decides what is reported about stock, many facts in one transaction, apart from orders.

A row counts if the source owns the place; another's word is kept beside. What cannot be taken is parked row by row
with line, reason and fix; a report too wild to be true waits whole for a person, whose replay lets it through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from crossdock.engine.ports import Clock
from crossdock.ledger import facts as inbox
from crossdock.ledger import stock, stock_sources
from crossdock.ledger.database import Connection
from crossdock.ledger.facts import WaitingFact
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.errors import CrossdockError, Defect, Invalid, Refused
from crossdock.model.facts import FACT_BODIES, BalancesReported, StockMoved, SupplyReported
from crossdock.model.stock import StockMovement
from crossdock.policy.policy import Policy
from crossdock.rules.balances import BalanceRow, Judge, Judged, RefusedRow
from crossdock.rules.freshness import Weight, judge_report
from crossdock.rules.ownership import Ownership

BATCH_MAX: Final = 50
STOCK_KINDS: Final = ("balances.reported", "stock.moved", "supply.reported")
_DECODERS: Final = {kind: msgspec.json.Decoder(FACT_BODIES[kind]) for kind in STOCK_KINDS}
_TAKE_IT: Final = "Look at the source. Replay takes it as it is; a right report that comes later replaces it."
_log: Final = structlog.get_logger("crossdock.engine.stock_facts")


@dataclass(slots=True)
class _Batch:
    """What a transaction's facts add up to before it is written."""

    balances: list[BalanceRow] = field(default_factory=list)
    foreign: list[BalanceRow] = field(default_factory=list)
    movements: list[tuple[str, StockMovement]] = field(default_factory=list)
    supplies: list[tuple[str, Any, datetime]] = field(default_factory=list)
    heard: list[stock_sources.Heard] = field(default_factory=list)
    whole: list[tuple[str, tuple[str, ...], datetime]] = field(default_factory=list)
    ended: list[tuple[int, int | None, str]] = field(default_factory=list)


class StockDesk:
    """Stateless but for its parts; any number may run at once."""

    def __init__(
        self, pool: asyncpg.Pool[Any], policy: Policy, ownership: Ownership, reference: ReferenceCache, clock: Clock
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._ownership = ownership
        self._reference = reference
        self._clock = clock
        owned = {owner.location for owner in policy.stock.owners}
        self._locations = frozenset({*policy.locations, *owned}) if policy.locations else frozenset()

    async def decide_waiting(self) -> int:
        """Decide one batch; return how many facts were looked at (0: nothing waits)."""
        try:
            return await self._decide_batch(BATCH_MAX)
        except (asyncpg.DataError, Defect):
            return await self._decide_singly()

    async def _decide_singly(self) -> int:
        """One of them holds what cannot be kept: it is found, and parked alone."""
        count = 0
        for _ in range(BATCH_MAX):
            try:
                if not await self._decide_batch(1):
                    break
            except (asyncpg.DataError, Defect) as error:
                await self._park_first(error)
            count += 1
        return count

    async def _park_first(self, error: Exception) -> None:
        why = error if isinstance(error, CrossdockError) else Invalid(
            "not_storable", "The message holds characters or numbers that cannot be kept.", detail=str(error),
            next_action="Ask the sender to correct it, then replay.",
        )  # fmt: skip
        async with self._pool.acquire() as connection, connection.transaction():
            for fact in await inbox.claim_stock_facts(connection, self._clock(), 1):
                await inbox.quarantine_fact(connection, fact.fact_id, why)

    async def _decide_batch(self, limit: int) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            now = self._clock()
            facts = await inbox.claim_stock_facts(connection, now, limit)
            if not facts:
                return 0
            version = await stock_sources.read_reference_version(connection)
            reports = []
            for fact in facts:
                try:
                    reports.append((fact, _DECODERS[fact.kind].decode(fact.body)))
                except msgspec.DecodeError as problem:
                    await inbox.quarantine_fact(connection, fact.fact_id, Invalid("body_malformed", str(problem)))
            skus = {row.sku for _, body in reports for row in _rows_of(body)}
            reference = await self._reference.catch_up(connection, version, skus)
            judge = Judge(reference.products, self._locations, self._ownership, now)
            batch = _Batch()
            for fact, body in reports:
                await self._judge(connection, fact, body, judge, batch)
            await self._write(connection, batch, now)
        return len(facts)

    async def _judge(self, connection: Connection, fact: WaitingFact, body: Any, judge: Judge, batch: _Batch) -> None:
        source = fact.connection
        match body:
            case BalancesReported():
                judged = judge.balances(source, body.balances)
                if not await self._passes(connection, fact, body, judged, judge.now):
                    return
                batch.balances.extend(judged.taken)
                batch.foreign.extend(judged.foreign)
                await self._hear(connection, source, body, judged, batch, judge.now)
            case StockMoved():
                judged = judge.movements(source, body.movements)
                batch.movements.extend((source, row) for row in judged.taken)
            case SupplyReported():
                judged = judge.supplies(source, body.supplies)
                batch.supplies.extend((source, row, body.as_of) for row in judged.taken)
            case _:
                raise Defect("fact_undecided", f"No rule for {fact.kind}.")
        if await self._park(connection, fact, body, judged, judge.now):
            return
        batch.ended.append((fact.fact_id, None, "applied" if judged.taken or judged.refused else "ignored"))

    async def _passes(
        self, connection: Connection, fact: WaitingFact, report: BalancesReported, judged: Judged, now: datetime
    ) -> bool:
        """Whether a report may be taken; a wild one is held for a person, unless one has let it through."""
        freshness = self._policy.stock.freshness
        rows: list[BalanceRow] = judged.taken
        locations = {row.location for row in rows}
        if not rows or not (report.complete or len(rows) >= freshness.wild_rows_min):
            return True
        negative = sum(row.code == "quantity_negative" for row in judged.refused)
        weight = await self._weigh(connection, fact.connection, report, rows, negative)
        reason = judge_report(weight, freshness)
        if reason is None or await stock_sources.find_held(connection, [fact.fact_id]):
            return True
        _log.error("stock_report_held", connection=fact.connection, locations=sorted(locations), reason=reason)
        await stock_sources.hold_report(connection, fact.fact_id, fact.connection, locations, reason, now)
        await stock.place_reports(connection, rows, "held", now)
        error = Refused("report_wild", f"The report is not believed: {reason}", next_action=_TAKE_IT)
        await inbox.quarantine_fact(connection, fact.fact_id, error)
        return False

    async def _weigh(
        self, connection: Connection, source: str, report: BalancesReported, rows: list[BalanceRow], negative: int
    ) -> Weight:
        """Figures for the judgement; all of a source's stock is counted only where it may matter."""
        freshness = self._policy.stock.freshness
        whole = report.complete and report.parts == 1
        empty = [row for row in rows if not row.on_hand]
        falling, stocked, last = 0, 0, 0
        locations = sorted({row.location for row in rows})
        enough = freshness.wild_rows_min * freshness.wild_share_percent // 100
        if not whole and len(empty) >= enough:
            falling = await stock_sources.count_falling(connection, source, empty)
        if whole or falling >= enough:
            stocked, falling, staying = await stock_sources.weigh(connection, source, locations, rows)
            if whole:
                falling = stocked - staying
        count = len(report.balances)
        if report.complete:
            last = await stock_sources.read_last_rows(connection, source, locations)
            if report.parts > 1:
                others = await stock_sources.read_parts(connection, source, report)
                # Until the last part came nobody can say that rows are missing.
                count = count + sum(part[1] for part in others) if len(others) + 1 >= report.parts else last
        return Weight(max(count, len(rows)), negative, falling, stocked, last, report.complete)

    async def _hear(
        self, connection: Connection, source: str, report: BalancesReported, judged: Judged, batch: _Batch,
        now: datetime,
    ) -> None:  # fmt: skip
        """Note the sign of life; a complete report that is whole says what is not there any more."""
        times: dict[str, datetime] = {}
        counts: dict[str, int] = {}
        for row in (*judged.taken, *judged.foreign):
            times[row.location] = max(times.get(row.location, row.as_of), row.as_of)
            counts[row.location] = counts.get(row.location, 0) + 1
        if report.complete and judged.taken:
            as_of = min(row.as_of for row in judged.taken)
            locations = {row.location for row in judged.taken}
            if report.parts > 1:
                others = await stock_sources.read_parts(connection, source, report)
                await stock_sources.place_part(connection, source, report, locations, as_of, now)
                if len(others) + 1 >= report.parts:
                    as_of = min(as_of, *(part[3] for part in others))
                    locations.update(*(part[2] for part in others))
                    for _, rows, places, _ in others:
                        # A part names its rows together: they are shared out to count the report as a whole.
                        counts[places[0]] = counts.get(places[0], 0) + rows
                    batch.whole.append((source, tuple(sorted(locations)), as_of))
                else:
                    counts = {}
            else:
                batch.whole.append((source, tuple(sorted(locations)), as_of))
        for location, at in times.items():
            rows_of = counts.get(location, 0) if report.complete else 0
            batch.heard.append(stock_sources.Heard(source, location, at, rows_of))

    async def _park(self, connection: Connection, fact: WaitingFact, body: Any, judged: Judged, now: datetime) -> bool:
        """Park refused rows by their code. True: all of the fact's rows are of one, so the fact itself is parked."""
        by_code: dict[str, list[RefusedRow]] = {}
        for row in judged.refused:
            by_code.setdefault(row.code, []).append(row)
        if not by_code:
            return False
        _log.warning("stock_rows_refused", connection=fact.connection, kind=fact.kind, rows=len(judged.refused))
        count = len(_rows_of(body))
        only = len(by_code) == 1 and len(judged.refused) == count
        for rows in by_code.values():
            if only:
                told = stock_sources.tell_rows(rows)
                error = Invalid(rows[0].code, told, next_action=rows[0].fix)
                await inbox.quarantine_fact(connection, fact.fact_id, error)
                continue
            part = _part_of(body, [row.row for row in rows])
            key = fact.business_key.partition("#")[0]
            await stock_sources.park_rows(connection, fact.fact_id, key, part, rows, now)
        return only

    async def _write(self, connection: Connection, batch: _Batch, now: datetime) -> None:
        await stock.place_balances(connection, batch.balances, now, self._ownership)
        for source, locations, as_of in batch.whole:
            missing = await stock.find_missing(connection, source, locations, as_of)
            await stock.place_balances(connection, missing, now, self._ownership)
            await stock_sources.end_snapshot(connection, source, as_of)
        await stock.forget_reports(connection, batch.balances)
        await stock.place_reports(connection, batch.foreign, "not_owner", now)
        await stock.record_movements(connection, batch.movements, now, self._ownership)
        await stock.place_supply(connection, batch.supplies)
        await stock_sources.write_heard(connection, batch.heard, now)
        await inbox.mark_applied(connection, batch.ended)


def _rows_of(body: Any) -> Sequence[Any]:
    match body:
        case BalancesReported():
            return body.balances
        case StockMoved():
            return body.movements
        case _:
            rows: Sequence[Any] = body.supplies
            return rows


def _part_of(body: Any, rows: list[Any]) -> Any:
    """A report of just these rows; never a complete one."""
    match body:
        case BalancesReported():
            return BalancesReported(tuple(rows))
        case StockMoved():
            return StockMoved(tuple(rows))
        case _:
            return SupplyReported(tuple(rows), body.as_of)
