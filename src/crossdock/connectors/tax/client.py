"""Wire calls of the tax engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from crossdock.connectors.tax.translate import (
    Quote,
    Transaction,
    commit_body,
    quote_body,
    taxes_done,
    transaction_code,
    undone_code,
)
from crossdock.kit.connector import Call, Done
from crossdock.kit.http import HttpSession, path


class TaxSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str


@asynccontextmanager
async def open_tax(settings: TaxSettings) -> AsyncIterator[HttpSession]:
    async with HttpSession.open(settings.url, bearer=settings.key) as session:
        yield session


async def check(session: HttpSession) -> None:
    """A transaction that is not there: 404 proves address and key."""
    await session.request(None, "GET", "/v1/transactions/none", write=False, expected=(200, 404))


async def quote(session: HttpSession, call: Call) -> Done:
    """A quote changes nothing at the tax engine, so it may be asked again at will."""
    answer = await session.request(call, "POST", "/v1/quotes", write=False, json=quote_body(call.order))
    return taxes_done(call.order, answer.decode(Quote))


async def commit(session: HttpSession, call: Call) -> Done:
    """409 says that the transaction is there already: the code is ours and unique."""
    body = commit_body(call)
    await session.request(call, "POST", "/v1/transactions", write=True, json=body, expected=(201, 409))
    return Done(external_id=str(body["code"]))


async def find_transaction(session: HttpSession, call: Call) -> Done | None:
    found = await _read(session, call, transaction_code(call))
    return None if found is None else Done(external_id=found.code)


async def void(session: HttpSession, call: Call) -> Done:
    code = undone_code(call)
    await session.request(
        call, "POST", path("/v1/transactions/{}/void", code), write=True, expected=(200, 404)
    )
    return Done(external_id=code)


async def find_void(session: HttpSession, call: Call) -> Done | None:
    found = await _read(session, call, undone_code(call))
    return Done(external_id=found.code) if found is not None and found.state == "void" else None


async def _read(session: HttpSession, call: Call, code: str) -> Transaction | None:
    answer = await session.request(
        call, "GET", path("/v1/transactions/{}", code), write=False, expected=(200, 404)
    )
    return None if answer.status == 404 else answer.decode(Transaction)
