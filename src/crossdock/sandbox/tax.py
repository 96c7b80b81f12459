"""The tax engine: quotes per line, and a register of committed transactions, unique by code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

import msgspec

from crossdock.sandbox.service import Answer, Call, Refusal, Route, wait_for_ever
from crossdock.sandbox.storage import Storage
from crossdock.sandbox.world import CENT, REGION_OF_COUNTRY, TAX_CODES, UNTAXED_CODES


class QuoteLine(msgspec.Struct, frozen=True):
    line: str
    sku: str
    tax_category: str
    net: Decimal


class QuoteRequest(msgspec.Struct, frozen=True):
    currency: str
    ship_to_country: str
    lines: tuple[QuoteLine, ...]
    treatment: str = ""
    exemption: str = ""
    date: str = ""


class TaxLine(msgspec.Struct, frozen=True):
    line: str
    tax_code: str
    rate: Decimal | None
    net: Decimal
    tax: Decimal


class TransactionRequest(msgspec.Struct, frozen=True):
    code: str
    currency: str
    lines: tuple[TaxLine, ...]
    date: str = ""
    document: str = ""


class Transaction(msgspec.Struct, frozen=True):
    code: str
    state: str
    currency: str
    document: str
    date: str
    lines: tuple[TaxLine, ...]
    total_tax: Decimal
    committed_at: str


class TaxEngine:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def live(self) -> None:
        await wait_for_ever()

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/v1/quotes", self.quote),
            Route("POST", "/v1/transactions", self.commit),
            Route("GET", "/v1/transactions/{code}", self.read_transaction),
            Route("POST", "/v1/transactions/{code}/void", self.void),
        )

    def quote(self, call: Call) -> Answer:
        request = call.read(QuoteRequest)
        region = REGION_OF_COUNTRY.get(request.ship_to_country)
        if region is None:
            raise Refusal(422, "country_not_served", f"no tax rules for {request.ship_to_country}")
        untaxed = UNTAXED_CODES.get(request.treatment, "EXEMPT" if request.exemption else "")
        lines = tuple(_tax_line(region, line, untaxed) for line in request.lines)
        return Answer({"lines": lines, "total_tax": sum((line.tax for line in lines), Decimal(0))})

    def commit(self, call: Call) -> Answer:
        request = call.read(TransactionRequest)
        existing = self._storage.read("transaction", request.code, Transaction)
        if existing is not None:
            raise Refusal(409, "duplicate_code", "a transaction with this code is committed already", existing)
        transaction = Transaction(
            request.code, "committed", request.currency, request.document, request.date, request.lines,
            sum((line.tax for line in request.lines), Decimal(0)), datetime.now(UTC).isoformat(),
        )  # fmt: skip
        self._storage.place("transaction", request.code, transaction)
        self._storage.append_log("transaction", request.code, transaction)
        return Answer(transaction, 201)

    def read_transaction(self, call: Call) -> Answer:
        return Answer(self._transaction(call))

    def void(self, call: Call) -> Answer:
        transaction = self._transaction(call)
        if transaction.state == "void":
            return Answer(transaction)
        transaction = msgspec.structs.replace(transaction, state="void")
        self._storage.place("transaction", transaction.code, transaction)
        self._storage.append_log("void", transaction.code, transaction)
        return Answer(transaction)

    def _transaction(self, call: Call) -> Transaction:
        transaction = self._storage.read("transaction", call.path["code"], Transaction)
        if transaction is None:
            raise Refusal(404, "not_found", "no such transaction")
        return transaction


def _tax_line(region: str, line: QuoteLine, untaxed: str) -> TaxLine:
    if untaxed:
        return TaxLine(line.line, untaxed, Decimal(0), line.net, Decimal("0.00"))
    found = TAX_CODES.get((region, line.tax_category))
    if found is None:
        raise Refusal(422, "category_unknown", f"no tax category {line.tax_category} in {region}")
    code, rate = found
    return TaxLine(line.line, code, rate, line.net, (line.net * rate).quantize(CENT, ROUND_HALF_UP))
