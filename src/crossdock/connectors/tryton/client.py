"""Tryton's wire: JSON-RPC over one signed-in session, its error table, and the ids that orders are built from.

Every sequence of calls here converges: it looks what is there, does what is missing, and may be begun again at any
point. That is needed because Tryton commits call by call and honours no idempotency key.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from crossdock.connectors.tryton.translate import from_wire, to_wire
from crossdock.kit.connector import Call, Done
from crossdock.kit.http import HttpSession, Recorder, path
from crossdock.model.errors import CrossdockError, InDoubt, Misconfigured, Refused, Unavailable

_READS: Final = frozenset({"read", "search", "search_read", "get_preferences"})
# Each invoice of a batch may warn, one after the other.
_WARNINGS_MAX: Final = 50
FAILED: Final = "erp_failed"
REFUSED: Final = "erp_refused"
_ARCHIVED_TOO: Final = {"active_test": False}
# Warnings that a person would confirm: the region of delivery, not the product, decides our taxes.
_CONFIRMED: Final = (".invoice_taxes",)


class TrytonSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`payment_method`: the name of Tryton's invoice payment method by which what was captured is booked."""

    url: str
    password: str
    user: str = "crossdock"
    database: str = "tryton"
    payment_method: str = ""


class UserWarned(Exception):
    """Tryton asks for a confirmation."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


@dataclass(frozen=True, slots=True)
class PartyRef:
    id: int
    address: int
    payment_term: int | None


@dataclass(frozen=True, slots=True)
class WarehouseRef:
    id: int
    storage: int
    output: int
    input: int


@dataclass(frozen=True, slots=True)
class PaymentMethodRef:
    """`account`: where the money waits that comes in by it."""

    journal: int
    account: int


@dataclass(slots=True)
class References:
    """Tryton's ids by our codes; read once, and again when a code is not among them.

    `withdrawn` is what it has and does not sell (to): "product <SKU>" or "customer <code>" -> "archived" or "unsold".
    """

    parties: dict[str, PartyRef] = field(default_factory=dict)
    products: dict[str, tuple[int, int]] = field(default_factory=dict)
    currencies: dict[str, int] = field(default_factory=dict)
    taxes: dict[str, int] = field(default_factory=dict)
    warehouses: dict[str, WarehouseRef] = field(default_factory=dict)
    payment_methods: dict[str, PaymentMethodRef] = field(default_factory=dict)
    withdrawn: dict[str, str] = field(default_factory=dict)


class TrytonClient:
    def __init__(self, session: HttpSession, settings: TrytonSettings) -> None:
        self._session = session
        self.settings: Final = settings
        self._path = path("/{}/rpc/", settings.database)
        self._authorization = ""
        self._user = 0
        self._context: dict[str, Any] = {}
        self._sign_in = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._freely: nullcontext[None] = nullcontext()
        self._order_locks: dict[str, asyncio.Lock] = {}
        self.references = References()

    def lock(self, number: str) -> asyncio.Lock:
        """One at a time per order: Tryton would put two shipments done together on one invoice."""
        if len(self._order_locks) > 10_000:
            self._order_locks = {key: lock for key, lock in self._order_locks.items() if lock.locked()}
        return self._order_locks.setdefault(number, asyncio.Lock())

    async def call(
        self, recorder: Recorder, method: str, *arguments: Any, context: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a method; raises by Tryton's error table. Known warnings are confirmed, others refuse."""
        for _ in range(_WARNINGS_MAX):
            try:
                return await self._signed_in(recorder, method, arguments, context)
            except UserWarned as warning:
                if not warning.name.endswith(_CONFIRMED):
                    raise Refused("erp_warns", warning.message, next_action="Confirm it in Tryton.") from None
                await self._signed_in(recorder, "model.res.user.warning.skip", (warning.name,), None)
        raise Refused("erp_warns", "Tryton warns again and again.", detail=method)

    async def rows(
        self, recorder: Recorder, model: str, domain: Sequence[Any], fields: Sequence[str], limit: int | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        method = f"model.{model}.search_read"
        found: list[dict[str, Any]] = await self.call(
            recorder, method, list(domain), 0, limit, [["id", "ASC"]], list(fields), context=context
        )
        return found

    async def ensure_references(self, *, again: bool = False) -> References:
        async with self._reading:
            if again or not self.references.warehouses:
                self.references = await self._read_references()
            return self.references

    async def _read_references(self) -> References:
        addresses = await self.rows(None, "party.address", [], ["party"])
        first_address: dict[int, int] = {}
        for row in addresses:
            first_address.setdefault(row["party"], row["id"])
        named = [["code", "!=", None]]
        parties = await self.rows(
            None, "party.party", named, ["code", "customer_payment_term", "active"], context=_ARCHIVED_TOO
        )
        products = await self.rows(
            None, "product.product", named, ["code", "default_uom", "active", "template.active", "salable"],
            context=_ARCHIVED_TOO,
        )  # fmt: skip
        archived = [
            *(f"customer {row['code']}" for row in parties if not row["active"]),
            *(f"product {row['code']}" for row in products if not _is_active(row)),
        ]
        unsold = [f"product {row['code']}" for row in products if _is_active(row) and not row["salable"]]
        currencies = await self.rows(None, "currency.currency", [], ["code"])
        taxes = await self.rows(None, "account.tax", [], ["name"])
        warehouses = await self.rows(
            None, "stock.location", [["type", "=", "warehouse"], ["code", "!=", None]],
            ["code", "storage_location", "output_location", "input_location"],
        )  # fmt: skip
        methods = await self.rows(None, "account.invoice.payment.method", [], ["name", "journal", "debit_account"])
        return References(
            parties={
                row["code"]: PartyRef(row["id"], first_address[row["id"]], row["customer_payment_term"])
                for row in parties if row["active"] and row["id"] in first_address
            },
            products={
                row["code"]: (row["id"], row["default_uom"]) for row in products if _is_active(row) and row["salable"]
            },
            currencies={row["code"]: row["id"] for row in currencies},
            taxes={row["name"]: row["id"] for row in taxes},
            warehouses={
                row["code"]: WarehouseRef(
                    row["id"], row["storage_location"], row["output_location"], row["input_location"]
                ) for row in warehouses
            },
            payment_methods={row["name"]: PaymentMethodRef(row["journal"], row["debit_account"]) for row in methods},
            withdrawn=dict.fromkeys(archived, "archived") | dict.fromkeys(unsold, "unsold"),
        )  # fmt: skip

    async def _signed_in(
        self, recorder: Recorder, method: str, arguments: Sequence[Any], context: Mapping[str, Any] | None
    ) -> Any:
        if not self._authorization:
            await self._log_in("")
        used = self._authorization
        answer = await self._post(recorder, method, [*arguments, {**self._context, **(context or {})}], used)
        if answer is None:
            await self._log_in(used)
            answer = await self._post(
                recorder, method, [*arguments, {**self._context, **(context or {})}], self._authorization
            )
        if answer is None:
            raise Misconfigured(
                "partner_denies_key", "Tryton does not accept our session.", next_action="Check user and password."
            )
        return answer.get("result")

    async def _log_in(self, used: str) -> None:
        async with self._sign_in:
            if self._authorization != used:
                return
            settings = self.settings
            parameters = [settings.user, {"password": settings.password}, "en"]
            answer = await self._post(None, "common.db.login", parameters, "")
            if answer is None:
                raise Misconfigured(
                    "partner_denies_key", "Tryton does not accept the user or the password.",
                    next_action="Check the connection's user and password.",
                )  # fmt: skip
            self._user, token, *_ = answer["result"]
            authorization = "Session " + base64.b64encode(f"{settings.user}:{self._user}:{token}".encode()).decode()
            found = await self._post(None, "model.res.user.get_preferences", [True, {}], authorization)
            self._context = {} if found is None else dict(found["result"])
            self._authorization = authorization

    async def _post(
        self, recorder: Recorder, method: str, parameters: Sequence[Any], authorization: str
    ) -> dict[str, Any] | None:
        """None: not signed in."""
        writes = method.rsplit(".", 1)[-1] not in _READS and method != "common.db.login"
        body = {"id": 1, "method": method, "params": to_wire(parameters)}
        headers = {"authorization": authorization} if authorization else {}
        # Tryton locks tables for numbers, credit limits and postings: writes side by side only wait for each other.
        async with self._writing if writes else self._freely:
            answer = await self._session.request(
                recorder, "POST", self._path, write=writes, json=body, headers=headers, expected=(200, 401),
                reads_json=False,
            )  # fmt: skip
        if answer.status == 401:
            return None
        decoded: dict[str, Any] = from_wire(answer.decode(dict[str, Any]))
        if decoded.get("error"):
            raise_error(decoded["error"], method)
        return decoded


def _is_active(product: Mapping[str, Any]) -> bool:
    """An archived template takes its variants along, which do not say so themselves."""
    return bool(product["active"] and product["template."]["active"])


def raise_error(error: Sequence[Any], method: str) -> None:
    """Tryton's error table. An error means that it rolled back, so nothing was done by this call."""
    kind, details = str(error[0]), error[1] if len(error) > 1 else ""
    first = str(details[0]) if isinstance(details, list) and details else kind
    if kind == "UserWarning":
        raise UserWarned(first, str(details[1]) if len(details) > 1 else first)
    if kind == "UserError":
        more = str(details[1]) if isinstance(details, list) and len(details) > 1 else ""
        raise Refused(
            REFUSED, first, detail=f"{method} {more}".strip(), next_action="Mend it in Tryton, then release the order."
        )
    raise Unavailable(FAILED, "Tryton could not do it this time.", detail=f"{method}: {str(error)[:500]}")


Act = Callable[[TrytonClient, Sequence[Call]], Awaitable[list[Done | CrossdockError]]]


async def together_or_alone(act: Act, client: TrytonClient, calls: Sequence[Call]) -> list[Done | CrossdockError]:
    """All of a batch together; when Tryton objects to one, each by itself, so that it stops only itself."""
    try:
        return await act(client, calls)
    except CrossdockError as error:
        if not _may_be_one(error):
            return [error] * len(calls)
    answers: list[Done | CrossdockError] = []
    for call in calls:
        try:
            answers += await act(client, [call])
        except CrossdockError as error:
            answers.append(error)
    return answers


def _may_be_one(error: CrossdockError) -> bool:
    """Whether a batch may have failed for one of its records. Not when Tryton is away, nor when it may have acted.

    Then each is looked at again by itself, also a batch of one: what Tryton objects to may be that the record has moved
    on meanwhile, by a request of a worker that died before the answer.
    """
    return not isinstance(error, InDoubt | Unavailable) or error.code == FAILED


@asynccontextmanager
async def open_tryton(settings: TrytonSettings) -> AsyncIterator[TrytonClient]:
    async with HttpSession.open(settings.url, secrets=(settings.password,), timeout_seconds=100.0) as session:
        yield TrytonClient(session, settings)


async def check(client: TrytonClient) -> None:
    await client.rows(None, "company.company", [], ["id"], limit=1)
