"""Before parked facts are decided again: what would become of orders now, with nothing locked, taken or written; and
whether what a person has corrected can be decided at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import msgspec

from crossdock.engine.intake import Acceptor, Placed
from crossdock.engine.ports import PlanBook
from crossdock.ledger.database import Queries
from crossdock.model.errors import CrossdockError, Invalid
from crossdock.model.facts import FACT_BODIES
from crossdock.model.orders import OrderPlaced

_SQL: Final = Queries.load("control")
_PLACED: Final = msgspec.json.Decoder(OrderPlaced)


class Rehearsed(msgspec.Struct, frozen=True):
    """`state` is accepted, held or refused; `reasons` say why it is not accepted."""

    fact_id: int
    state: str
    reasons: tuple[str, ...] = ()


async def rehearse_orders(
    pool: asyncpg.Pool[Any], acceptor: Acceptor, plans: PlanBook, fact_ids: Sequence[int]
) -> Mapping[int, Rehearsed]:
    """By fact. Facts that are no parked orders, or cannot be read, are left out."""
    async with pool.acquire() as connection:
        rows = await connection.fetch(_SQL["read_parked_orders"], list(fact_ids))
        placed = []
        for row in rows:
            try:
                body = _PLACED.decode(row["body"])
            except msgspec.DecodeError:
                continue
            placed.append(Placed(plans.channel_of(row["connection"]), body, "", fact_id=row["fact_id"]))
        said = await acceptor.rehearse(connection, placed) if placed else []
    found = {}
    for item, answer in zip(placed, said, strict=True):
        if isinstance(answer, CrossdockError):
            found[item.fact_id] = Rehearsed(item.fact_id, "refused", (answer.message,))
        else:
            reasons = tuple(dict.fromkeys(one.message for one in answer.reasons))
            found[item.fact_id] = Rehearsed(item.fact_id, answer.state, reasons)
    return found


def body_type(kind: str) -> Any:
    """What a parked fact's body must be. Raises Invalid for one that could not even be translated."""
    shape = FACT_BODIES.get(kind)
    if shape is None:
        raise Invalid(
            "correction_kind", "This message could not be translated, so there is nothing to correct yet.",
            next_action="Mend the mapping or the connector, then replay it.",
        )  # fmt: skip
    return shape


def check_correction(kind: str, business_key: str, body: bytes) -> None:
    """Raises Invalid unless it is a body of this kind and still names the same order."""
    try:
        corrected = msgspec.json.decode(body, type=body_type(kind))
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Invalid("correction_form", f"The corrected message cannot be read: {error}"[:500]) from None
    if isinstance(corrected, OrderPlaced) and corrected.channel_number != business_key:
        raise Invalid(
            "correction_number", f"This is order {business_key} of its channel and must stay so.",
            field="channel_number", next_action="Correct anything but the number.",
        )  # fmt: skip
