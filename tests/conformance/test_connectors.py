"""Every operation of every connector against its partner, judged by the partner's own write log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from crossdock.connectors.agora.declaration import CONNECTOR as AGORA
from crossdock.connectors.bazaar.declaration import CONNECTOR as BAZAAR
from crossdock.connectors.carrier.declaration import CONNECTOR as CARRIER
from crossdock.connectors.payment.declaration import CONNECTOR as PAYMENT
from crossdock.connectors.portal.declaration import CONNECTOR as PORTAL
from crossdock.connectors.shop.declaration import CONNECTOR as SHOP
from crossdock.connectors.tax.declaration import CONNECTOR as TAX
from crossdock.connectors.wms.declaration import CONNECTOR as WMS
from crossdock.kit import conformance
from crossdock.kit.conformance import Case
from crossdock.kit.connector import Call, Connector
from crossdock.kit.samples import make_call, make_fulfilment, make_order, make_part
from crossdock.kit.settings import decode_settings
from crossdock.model.errors import Misconfigured, Refused, Unavailable
from crossdock.model.orders import TaxDecision
from tests.conformance.calls import BASKET
from tests.conformance.partners import RunningPartner

pytestmark = pytest.mark.process

CONNECTORS = {
    connector.system: connector for connector in (SHOP, BAZAAR, AGORA, PORTAL, WMS, TAX, PAYMENT, CARRIER)
}
LINES = {"bazaar": ("10", "20"), "agora": ("L01", "L02")}
REASON = {"reason": "The buyer changed his mind."}
EFFECTS = {
    ("shop", "channel.acknowledge"): "acknowledgment", ("shop", "channel.ship"): "fulfilment",
    ("shop", "channel.cancel"): "cancellation",
    ("bazaar", "channel.acknowledge"): "acknowledgment", ("bazaar", "channel.ship"): "shipment",
    ("bazaar", "channel.cancel"): "cancellation",
    ("agora", "channel.acknowledge"): "acknowledgment", ("agora", "channel.ship"): "shipment",
    ("agora", "channel.cancel"): "cancellation",
    ("portal", "channel.status"): "status", ("portal", "channel.acknowledge"): "status",
    ("portal", "channel.ship"): "status", ("portal", "channel.cancel"): "status",
    ("wms", "wms.release"): "instruction", ("wms", "wms.cancel"): "cancellation",
    ("tax", "tax.commit"): "transaction", ("tax", "tax.void"): "void",
    ("payment", "payment.authorise"): "authorisation", ("payment", "payment.capture"): "capture",
    ("payment", "payment.void"): "void", ("payment", "payment.refund"): "refund",
    ("carrier", "carrier.track"): "tracking",
}  # fmt: skip


async def once(connector: Connector, settings: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """Do something that another call builds on; the result."""
    async with connector.open(decode_settings(connector, "tested", settings)) as client:
        perform = connector.operation(call.operation).perform
        assert perform is not None
        result: dict[str, Any] = msgspec.json.decode((await perform(client, call)).result)
        return result


def fresh_calls(connector: Connector, operation: str, partner: RunningPartner) -> Callable[[], Awaitable[Call]]:
    settings = {"url": partner.url, "key": partner.key}

    async def fresh() -> Call:
        number = await partner.place_order(BASKET) if operation.startswith("channel.") else "X-1"
        order = make_order(number, LINES.get(connector.system, ("1", "2")))
        part = make_part(order)
        shipment = f":{part.shipment}"
        # The movement of money and tax is found in the log by our order number.
        part = msgspec.structs.replace(part, shipment=f"SH-{order.number}")
        match operation:
            case "channel.ship" | "carrier.track" | "tax.commit":
                return make_call(order, operation + shipment, part)
            case "channel.status":
                return make_call(order, "channel.status:completed", {"milestone": "completed", "at": "2026-03-04"})
            case "wms.release":
                return make_call(order, "wms.release:HAM", make_fulfilment(order))
            case "wms.cancel":
                release = make_call(order, "wms.release:HAM", make_fulfilment(order))
                result = await once(connector, settings, release)
                return make_call(order, "wms.cancel:HAM", {**REASON, "undoes": release.name}, {release.name: result})
            case "tax.void":
                commit = make_call(order, f"tax.commit:{part.shipment}", part)
                await once(connector, settings, commit)
                return make_call(order, f"tax.void:{part.shipment}", {**REASON, "undoes": commit.name})
            case "payment.capture" | "payment.void" | "payment.refund":
                authorise = make_call(order, "payment.authorise", {})
                results: dict[str, object] = {authorise.name: await once(connector, settings, authorise)}
                if operation == "payment.void":
                    return make_call(order, operation, {**REASON, "undoes": authorise.name}, results)
                capture = make_call(order, f"payment.capture:{part.shipment}", part, results)
                if operation == "payment.capture":
                    return capture
                captured = await once(connector, settings, capture)
                amount = {"amount": "5.00", "currency": "EUR"}
                payload = {"capture": captured["capture"], "amount": amount, "reference": f"RF-{order.number}"}
                return make_call(order, f"payment.refund:{part.shipment}", payload)
        return make_call(order, operation, REASON)

    return fresh


def case_of(system: str, operation: str, partners: Mapping[str, RunningPartner]) -> Case:
    connector, partner = CONNECTORS[system], partners[system]
    settings = {"url": partner.url, "key": partner.key}
    effect = EFFECTS.get((system, operation), "")
    return Case(connector, operation, settings, effect, fresh_calls(connector, operation, partner))


ALL = [(system, operation.name) for system, found in CONNECTORS.items() for operation in found.operations]
WRITES = [pair for pair in ALL if pair in EFFECTS]
every_operation = pytest.mark.parametrize(("system", "operation"), ALL)
every_write = pytest.mark.parametrize(("system", "operation"), WRITES)


@pytest.mark.parametrize("system", CONNECTORS)
def test_settings_refuse_nonsense(system: str) -> None:
    conformance.check_settings(CONNECTORS[system], {"url": "http://127.0.0.1:1", "key": "something"})


@pytest.mark.parametrize("system", CONNECTORS)
async def test_check_tells_a_wrong_key_and_a_dead_address(
    system: str, partners: Mapping[str, RunningPartner]
) -> None:
    connector = CONNECTORS[system]
    assert connector.check is not None
    for url, key, expected in (
        (partners[system].url, partners[system].key, None),
        (partners[system].url, "wrong", Misconfigured),
        ("http://127.0.0.1:9", "any", Unavailable),
    ):
        async with connector.open(decode_settings(connector, "tested", {"url": url, "key": key})) as client:
            if expected is None:
                await connector.check(client)
            else:
                with pytest.raises(expected):
                    await connector.check(client)


@every_write
async def test_a_repeated_call_makes_one_effect(
    system: str, operation: str, partners: Mapping[str, RunningPartner]
) -> None:
    case = case_of(system, operation, partners)
    async with case.connector.open(decode_settings(case.connector, "tested", case.settings)) as client:
        await conformance.check_repeated(case, client, partners[system])


@every_write
async def test_a_lost_answer_is_found_by_the_probe(
    system: str, operation: str, partners: Mapping[str, RunningPartner]
) -> None:
    case = case_of(system, operation, partners)
    async with case.connector.open(decode_settings(case.connector, "tested", case.settings)) as client:
        await conformance.check_lost_answer(case, client, partners[system])


@every_write
async def test_a_lost_request_is_not_found_by_the_probe(
    system: str, operation: str, partners: Mapping[str, RunningPartner]
) -> None:
    case = case_of(system, operation, partners)
    async with case.connector.open(decode_settings(case.connector, "tested", case.settings)) as client:
        await conformance.check_lost_request(case, client, partners[system])


@every_operation
async def test_errors_end_in_their_class(
    system: str, operation: str, partners: Mapping[str, RunningPartner]
) -> None:
    case = case_of(system, operation, partners)
    async with case.connector.open(decode_settings(case.connector, "tested", case.settings)) as client:
        await conformance.check_errors(case, client, partners[system])


@every_operation
async def test_exchanges_keep_no_secret(
    system: str, operation: str, partners: Mapping[str, RunningPartner]
) -> None:
    case = case_of(system, operation, partners)
    async with case.connector.open(decode_settings(case.connector, "tested", case.settings)) as client:
        await conformance.check_secrets(case, client)


async def test_a_declined_card_is_refused_and_stays_refused(partners: Mapping[str, RunningPartner]) -> None:
    order = make_order("X-1")
    order = msgspec.structs.replace(order, payment=msgspec.structs.replace(order.payment, token="tok_declined"))
    settings = {"url": partners["payment"].url, "key": partners["payment"].key}
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await once(PAYMENT, settings, make_call(order, "payment.authorise", {}))
        assert refused.value.code == "card_declined"
    assert await partners["payment"].effects("authorisation", order.number) == 0


async def test_the_authorised_amount_holds_the_quoted_tax(partners: Mapping[str, RunningPartner]) -> None:
    order = make_order("X-1")
    tax = {"url": partners["tax"].url, "key": partners["tax"].key}
    payment = {"url": partners["payment"].url, "key": partners["payment"].key}
    quoted = await once(TAX, tax, make_call(order, "tax.quote", {}))
    assert [quoted["taxes"][line.line]["amount"] for line in order.lines] == ["4.56", "0.86"]
    authorised = await once(
        PAYMENT, payment, make_call(order, "payment.authorise", {}, {"tax.quote": quoted})
    )
    assert Decimal(authorised["amount"]) == Decimal("28.50") + Decimal("4.56") + Decimal("0.86")


@pytest.mark.parametrize(("tax", "code"), [
    (TaxDecision("reverse_charge", "union-business", "NL004495445B01"), "REVERSE"),
    (TaxDecision("exempt", "diplomats"), "EXEMPT"), (TaxDecision("export", "abroad"), "EXPORT"),
])  # fmt: skip
async def test_what_bears_no_tax_is_quoted_as_that(
    partners: Mapping[str, RunningPartner], tax: TaxDecision, code: str
) -> None:
    order = msgspec.structs.replace(make_order("X-1"), tax=tax, tax_exempt=True)
    settings = {"url": partners["tax"].url, "key": partners["tax"].key}
    quoted = await once(TAX, settings, make_call(order, "tax.quote", {}))
    found = {(line["code"], Decimal(line["rate"]), Decimal(line["amount"])) for line in quoted["taxes"].values()}
    assert found == {(code, Decimal(0), Decimal(0))}


async def test_an_opened_box_is_shipped_in_pieces(partners: Mapping[str, RunningPartner]) -> None:
    """Five of a box of twelve: never 0.4167 boxes."""
    for system, field, expected in (
        ("shop", "lines", {"line_id": "1", "quantity": "5", "unit": "each"}),
        ("bazaar", "items", {"item_id": 10, "quantity": "5", "unit": "C62"}),
        ("agora", "lines", {"lineNo": "L01", "pieces": "5"}),
    ):
        partner = partners[system]
        order = make_order(await partner.place_order(BASKET), LINES.get(system, ("1", "2")))
        part = make_part(order, box_pieces=5)
        settings = {"url": partner.url, "key": partner.key}
        await once(CONNECTORS[system], settings, make_call(order, f"channel.ship:{part.shipment}", part))
        written = [entry for entry in await partner.log() if order.channel_number in entry["business_key"]][-1]
        assert written["document"][field][0] == expected


async def test_a_second_release_after_a_hold_is_a_new_instruction(partners: Mapping[str, RunningPartner]) -> None:
    order = make_order("X-1")
    settings = {"url": partners["wms"].url, "key": partners["wms"].key}
    for name in ("wms.release:HAM", "wms.release:HAM#2"):
        await once(WMS, settings, make_call(order, name, make_fulfilment(order)))
    assert await partners["wms"].effects("instruction", f"{order.number}-HAM#2") == 1
