"""Acme's connector put to the conformance suite, against a simulation of Acme with faults and a write log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from acme import Acme

from acme_crossdock.declaration import CONNECTOR
from crossdock.kit import conformance
from crossdock.kit.conformance import Case
from crossdock.kit.connector import Call
from crossdock.kit.samples import make_call, make_fulfilment, make_order
from crossdock.kit.settings import decode_settings
from crossdock.model.errors import Misconfigured
from crossdock.sandbox.tested import PartnerInTest, open_partner


@pytest.fixture
async def partner(tmp_path: Path) -> AsyncIterator[PartnerInTest]:
    async with open_partner(Acme, tmp_path) as running:
        yield running


@pytest.fixture
async def client(partner: PartnerInTest) -> AsyncIterator[Any]:
    async with CONNECTOR.open(decode_settings(CONNECTOR, "tested", settings_of(partner))) as opened:
        yield opened


def settings_of(partner: PartnerInTest) -> dict[str, Any]:
    return {"url": partner.url, "key": partner.key}


async def release_call() -> Call:
    order = make_order("X-1")
    return make_call(order, "wms.release:HAM", make_fulfilment(order))


def test_settings() -> None:
    conformance.check_settings(CONNECTOR, {"url": "http://127.0.0.1:1", "key": "something"})


async def test_a_wrong_key_is_told(partner: PartnerInTest, client: Any) -> None:
    assert CONNECTOR.check is not None
    await CONNECTOR.check(client)
    wrong = decode_settings(CONNECTOR, "tested", {"url": partner.url, "key": "wrong"})
    async with CONNECTOR.open(wrong) as stranger:
        with pytest.raises(Misconfigured):
            await CONNECTOR.check(stranger)


async def test_release(partner: PartnerInTest, client: Any) -> None:
    case = Case(CONNECTOR, "wms.release", settings_of(partner), "instruction", release_call)
    await conformance.check_operation(case, client, partner)


async def test_shipments_by_feed_and_webhook_are_the_same_facts(partner: PartnerInTest, client: Any) -> None:
    acme = partner.partner
    assert isinstance(acme, Acme)
    shipments = []
    for _ in range(5):
        done = await conformance.perform(
            Case(CONNECTOR, "wms.release", settings_of(partner), "instruction", release_call), client,
            await release_call(),
        )  # fmt: skip
        shipments.append(acme.ship(done.external_id))
    await conformance.check_feed(CONNECTOR, client, "shipments")
    body = msgspec.json.encode({"event": "shipment.left", "shipment": shipments[0]})
    await conformance.check_webhook(CONNECTOR, client, {}, body)
    polled = await conformance.read_feed(CONNECTOR, client, "shipments")
    assert CONNECTOR.webhook is not None
    (pushed,) = await CONNECTOR.webhook.read(client, CONNECTOR.system, {}, body)
    assert (pushed.kind, pushed.business_key) in {(fact.kind, fact.business_key) for fact in polled}
    assert len(polled) == 5
