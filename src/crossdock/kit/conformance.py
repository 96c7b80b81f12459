"""What every connector must do, checked against its partner or the partner's simulation and judged by its write log.

A connector's tests say how to reach the partner (`Partner`) and how to make a fresh call of each operation (`Case`);
the checks here are the same for all. They raise AssertionError with a sentence. `check_operation` and `check_feed` are
all checks of one operation and of one feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from crossdock.kit.arrivals import translate_items
from crossdock.kit.connector import Call, Connector, Done, Operation, Shown, StockLane, Submitted
from crossdock.kit.settings import decode_settings
from crossdock.model.errors import CrossdockError, InDoubt, Invalid, Misconfigured, Unavailable
from crossdock.model.facts import FACT_BODIES, UNTRANSLATED, Fact, Untranslated
from crossdock.model.stock import StockFigure

FEED_SECONDS_MAX: Final = 30.0
PAGES_MAX: Final = 1000
NONSENSE: Final = (b"", b"[]", b"{", b'{"type": "no such thing"}', b'{"data": "\xff"}', b'{"data": "\\ud800"}')


class Partner(Protocol):
    """The receiving side: its append-only log and the faults that it can be told to have."""

    async def effects(self, kind: str, number: str) -> int:
        """How many writes of this kind the log holds whose business key or document names `number`."""

    async def misbehave(self, plan: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Case:
    """One operation: a fresh call on every use, and where its effect shows. `effect` is "" for a mere read."""

    connector: Connector
    operation: str
    settings: Mapping[str, Any]
    effect: str
    fresh: Callable[[], Awaitable[Call]]

    @property
    def declared(self) -> Operation:
        return self.connector.operation(self.operation)


async def perform(case: Case, client: Any, call: Call) -> Done:
    """One call by whichever way the operation is declared."""
    operation = case.declared
    if operation.perform is not None:
        return await operation.perform(client, call)
    if operation.perform_many is None:
        raise AssertionError(f"{operation.name} declares nothing to perform")
    found = (await operation.perform_many(client, [call]))[0]
    if isinstance(found, CrossdockError):
        raise found
    return found


async def outcome(case: Case, client: Any, call: Call) -> Done | CrossdockError:
    try:
        return await perform(case, client, call)
    except CrossdockError as error:
        return error


def check_settings(connector: Connector, good: Mapping[str, Any]) -> None:
    """Good settings are taken; nonsense, a missing and an empty secret are refused by name."""
    decode_settings(connector, "tested", good)
    nonsense: list[dict[str, Any]] = [{**good, "no_such_setting": 1}]
    nonsense += [{name: good[name] for name in good.keys() - {needed}} for needed in connector.secrets]
    nonsense += [{**good, needed: ""} for needed in connector.secrets]
    for values in nonsense:
        try:
            decode_settings(connector, "tested", values)
        except Misconfigured as error:
            _require(bool(error.field), "A refused setting must be named.")
        else:
            raise AssertionError(f"{connector.system} takes settings that it must refuse: {sorted(values)}")


async def check_repeated(case: Case, client: Any, partner: Partner) -> None:
    """The same call again, as after a restart, makes no second effect and finds the same number."""
    call = await case.fresh()
    first = await perform(case, client, call)
    again = msgspec.structs.replace(call, attempt=2)
    second = await perform(case, client, again) if case.declared.repeatable else await _probed(case, client, again)
    _require(second.external_id == first.external_id, f"{case.operation} finds another number when it is repeated")
    await _one_effect(case, partner, call)


async def check_lost_answer(case: Case, client: Any, partner: Partner) -> None:
    """The partner commits, the answer is lost: in doubt, then found by the probe with all that `perform` would say."""
    for plan in ({"commit_then_drop": 1}, {"commit_then_500": 1}, {"truncate": 1, "methods": ["POST", "PUT"]}):
        call = await case.fresh()
        await partner.misbehave(plan)
        found = await outcome(case, client, call)
        await partner.misbehave({})
        _require(isinstance(found, InDoubt), f"{case.operation} under {plan} must be in doubt, it is {found!r}")
        probed = await _probed(case, client, call)
        await _one_effect(case, partner, call)
        repeated = probed
        if case.declared.repeatable:
            repeated = await perform(case, client, msgspec.structs.replace(call, attempt=2))
        _require(probed == repeated, f"{case.operation}: the probe says {probed}, the partner {repeated}")
        await _one_effect(case, partner, call)


async def check_lost_request(case: Case, client: Any, partner: Partner) -> None:
    """The request is lost before anything happens: in doubt, the probe finds nothing, and it can be done then."""
    call = await case.fresh()
    await partner.misbehave({"reset": 1, "methods": ["POST", "PUT"]})
    found = await outcome(case, client, call)
    await partner.misbehave({})
    _require(isinstance(found, InDoubt), f"{case.operation} with a broken connection must be in doubt, it is {found!r}")
    _require(await _probe(case, client, call) is None, f"{case.operation}: the probe finds what is not there")
    await perform(case, client, msgspec.structs.replace(call, attempt=2))
    await _one_effect(case, partner, call)


async def check_errors(case: Case, client: Any, partner: Partner) -> None:
    """Slow down, not now: nothing happened, and the partner's wish about when to come back is kept."""
    call = await case.fresh()
    await partner.misbehave({"status_429": 1, "retry_after": 7})
    found = await outcome(case, client, call)
    if not isinstance(found, Unavailable):
        raise AssertionError(f"{case.operation}: 429 must be Unavailable, it is {found!r}")  # noqa: TRY004 - a failed check, not a wrong argument
    _require(found.retry_after_seconds == 7, "Retry-After must be passed on")
    await partner.misbehave({"status_500": 1})
    found = await outcome(case, client, call)
    await partner.misbehave({})
    expected = InDoubt if case.effect else Unavailable
    _require(isinstance(found, expected), f"{case.operation}: 500 must be {expected.__name__}, it is {found!r}")


async def check_secrets(case: Case, client: Any) -> None:
    """What is kept of an exchange names neither the key nor a card token nor the buyer."""
    call = await case.fresh()
    await perform(case, client, call)
    kept = repr(call.exchanges)
    _require(bool(call.exchanges), f"{case.operation} leaves no trace of what went over the wire")
    hidden = [str(case.settings[name]) for name in case.connector.secrets]
    hidden += [call.order.payment.token, call.order.ship_to.email, call.order.ship_to.street, call.order.ship_to.name]
    for secret in filter(None, hidden):
        _require(secret not in kept, f"{case.operation} keeps {secret[:4]}… in an exchange")


async def check_operation(case: Case, client: Any, partner: Partner) -> None:
    """Everything that one operation must do."""
    if case.effect:
        await check_repeated(case, client, partner)
        await check_lost_answer(case, client, partner)
        await check_lost_request(case, client, partner)
    await check_errors(case, client, partner)
    await check_secrets(case, client)


async def read_feed(connector: Connector, client: Any, feed: str, cursor: str = "") -> list[Fact]:
    """All pages from `cursor` on."""
    facts: list[Fact] = []
    for _ in range(PAGES_MAX):
        page = await connector.feed(feed).read(client, connector.system, cursor)
        facts.extend(page.facts)
        cursor = page.cursor
        if not page.more:
            return facts
    raise AssertionError(f"The feed {feed} of {connector.system} has no end.")


async def check_feed(connector: Connector, client: Any, feed: str) -> None:
    """Each fact has a body of its kind and the payload it was made of. Where the feed says how one item is translated,
    read again it is the same fact, its payload is the same fact again, and nonsense is refused."""
    facts = await read_feed(connector, client, feed)
    _require(bool(facts), f"The feed {feed} has nothing to tell: have the partner do something first.")
    for fact in facts:
        _require(fact.kind != UNTRANSLATED, f"{feed} cannot translate {fact.raw[:200]!r}")
        msgspec.json.decode(fact.body, type=FACT_BODIES[fact.kind])
        _require(bool(fact.raw and fact.business_key), f"A fact of {feed} has no payload or no business key.")
    translate = connector.feed(feed).translate
    if translate is None:
        return
    again = {_identity(fact) for fact in await read_feed(connector, client, feed)}
    _require(again >= {_identity(fact) for fact in facts}, f"Read again, {feed} tells other facts.")
    for fact in facts:
        retold = {_identity(found) for found in translate(connector.system, fact.raw)}
        _require(_identity(fact) in retold, f"A replay of {fact.business_key} of {feed} would be another fact.")
    for nonsense in NONSENSE:
        for fact in translate_items(connector.system, feed, [nonsense], translate, str):
            _require(fact.kind == UNTRANSLATED, f"{feed} makes a fact of {nonsense!r}.")
            code = msgspec.json.decode(fact.body, type=Untranslated).code
            _require(code != "translation_defect", f"{feed} has no sentence for {nonsense!r}.")


async def check_webhook(connector: Connector, client: Any, headers: Mapping[str, str], body: bytes) -> None:
    """The same webhook twice is the same facts, and nonsense is Invalid."""
    if connector.webhook is None:
        raise AssertionError(f"{connector.system} declares no webhook")
    first = await connector.webhook.read(client, connector.system, headers, body)
    again = await connector.webhook.read(client, connector.system, headers, body)
    _require(bool(first), "The webhook says nothing.")
    _require([_identity(fact) for fact in first] == [_identity(fact) for fact in again], "It says another thing again.")
    for fact in first:
        msgspec.json.decode(fact.body, type=FACT_BODIES[fact.kind])
        _require(fact.raw == body, "A fact of a webhook must keep the body as it was received.")
    for nonsense in NONSENSE:
        try:
            await connector.webhook.read(client, connector.system, headers, nonsense)
        except Invalid:
            continue
        raise AssertionError(f"A webhook of {nonsense!r} must be Invalid.")


def _identity(fact: Fact) -> tuple[str, str, str, str]:
    return (fact.connection, fact.kind, fact.business_key, fact.version)


@dataclass(frozen=True, slots=True)
class StockCase:
    """A channel that is told stock. `skus` are three that it lists by `unit`; `unknown` is one that it does not."""

    connector: Connector
    settings: Mapping[str, Any]
    skus: tuple[str, str, str]
    unit: str
    unknown: str

    @property
    def declared(self) -> StockLane:
        if self.connector.stock is None:
            raise AssertionError(f"{self.connector.system} declares no stock lane")
        return self.connector.stock


async def tell(case: StockCase, client: Any, figures: Mapping[str, Decimal], version: int = 1) -> dict[str, Shown]:
    """Publish figures and collect what became of each, however the channel answers."""
    asked = [StockFigure(sku, case.unit, quantity, version) for sku, quantity in figures.items()]
    answer = await case.declared.publish(client, asked)
    if not isinstance(answer, Submitted):
        return {shown.sku: shown for shown in answer}
    if case.declared.collect is None:
        raise AssertionError(f"{case.connector.system} takes feeds but cannot be asked what became of them")
    async with asyncio.timeout(FEED_SECONDS_MAX):
        while True:
            collected = await case.declared.collect(client, answer.feed)
            if collected is not None:
                return {shown.sku: shown for shown in collected}
            await asyncio.sleep(0.1)


async def check_stock_told(case: StockCase, client: Any) -> None:
    """Figures are absolute: told again nothing changes, told anew the newest is shown; zero and fractions arrive."""
    first, second, third = case.skus
    for figures in (
        {first: Decimal(7), second: Decimal(0), third: Decimal(120)},
        {first: Decimal(7), second: Decimal(0), third: Decimal(120)},
        {first: Decimal(3), second: Decimal(5), third: Decimal(0)},
    ):
        answer = await tell(case, client, figures)
        _require(answer.keys() == figures.keys(), "Every figure must have an outcome.")
        refused = [shown for shown in answer.values() if shown.code]
        _require(not refused, f"{case.connector.system} does not take {refused}")
        shown = await case.declared.read_back(client, list(figures))
        _require(dict(shown) == figures, f"{case.connector.system} shows {dict(shown)} instead of {figures}")


async def check_stock_alone(case: StockCase, client: Any) -> None:
    """A SKU that the channel does not know fails alone, by its stable code, and is not read back."""
    first, second, _ = case.skus
    answer = await tell(case, client, {first: Decimal(8), case.unknown: Decimal(4), second: Decimal(9)})
    _require(answer[case.unknown].code == "sku_unknown", f"An unknown SKU is answered {answer[case.unknown]}")
    _require(not answer[first].code and not answer[second].code, "An unknown SKU must not stop its neighbours.")
    shown = await case.declared.read_back(client, [first, case.unknown])
    _require(dict(shown) == {first: Decimal(8)}, f"{case.connector.system} reads back {dict(shown)}")


async def check_stock_errors(case: StockCase, client: Any, partner: Partner) -> None:
    """Slow down: the wish about when to come back is kept. A lost answer: in doubt, and telling it again is safe."""
    first = case.skus[0]
    figure = [StockFigure(first, case.unit, Decimal(11), 1)]
    await partner.misbehave({"status_429": 1, "retry_after": 7})
    found = await _published(case, client, figure)
    if not isinstance(found, Unavailable):
        raise AssertionError(f"{case.connector.system}: 429 must be Unavailable, it is {found!r}")  # noqa: TRY004 - a failed check, not a wrong argument
    _require(found.retry_after_seconds == 7, "Retry-After must be passed on")
    await partner.misbehave({"commit_then_drop": 1})
    found = await _published(case, client, figure)
    await partner.misbehave({})
    _require(isinstance(found, InDoubt), f"{case.connector.system}: a lost answer must be in doubt, it is {found!r}")
    await tell(case, client, {first: Decimal(11)}, version=2)
    shown = await case.declared.read_back(client, [first])
    _require(dict(shown) == {first: Decimal(11)}, f"{case.connector.system} shows {dict(shown)}")


async def _published(case: StockCase, client: Any, figures: list[StockFigure]) -> object:
    try:
        return await case.declared.publish(client, figures)
    except CrossdockError as error:
        return error


def _require(holds: bool, otherwise: str) -> None:
    """`assert` would vanish under -O; a third party's suite must not."""
    if not holds:
        raise AssertionError(otherwise)


async def _probe(case: Case, client: Any, call: Call) -> Done | None:
    if case.declared.probe is None:
        raise AssertionError(f"{case.operation} writes but cannot be probed")
    return await case.declared.probe(client, call)


async def _probed(case: Case, client: Any, call: Call) -> Done:
    found = await _probe(case, client, call)
    if found is None:
        raise AssertionError(f"{case.operation}: the probe does not find what is there")
    return found


async def _one_effect(case: Case, partner: Partner, call: Call) -> None:
    count = await partner.effects(case.effect, call.key if case.effect == "status" else effect_number(call))
    _require(count == 1, f"{case.operation} made {count} effects instead of one")


def effect_number(call: Call) -> str:
    """What the partner's log names: the channel's number for channels, ours elsewhere."""
    return call.order.channel_number if call.operation.startswith("channel.") else call.number
