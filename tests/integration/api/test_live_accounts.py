"""Accounts asked live at the ERP: its figures with our open orders, or the ledger's and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import msgspec

from crossdock.engine.ports import OpenConnection, system_clock
from crossdock.front import live_accounts
from crossdock.kit.connector import Connector, LiveAccount
from crossdock.model.errors import Invalid, Unavailable
from crossdock.policy.connections import AvailabilityPolicy
from tests.integration.api.api_world import Api, open_api, served

AS_OF = datetime(2026, 3, 2, 9, 31, tzinfo=UTC)
# An ERP that answers is given all the time that a busy machine may take.
ASKED = AvailabilityPolicy(live_erp="when_asked", live_deadline_seconds=30)
HURRIED = msgspec.structs.replace(ASKED, live_deadline_seconds=0.2)


@asynccontextmanager
async def _nothing(settings: Any) -> AsyncIterator[None]:
    yield None


class Erp:
    """An ERP that knows C1, and can be silent, down or strange."""

    def __init__(self) -> None:
        self.fails: Callable[[], BaseException] | None = None
        self.silent = False
        self.at_once = self.most_at_once = 0

    async def read(self, _: Any, code: str) -> LiveAccount:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(60 if self.silent else 0.005)
        finally:
            self.at_once -= 1
        if self.fails is not None:
            raise self.fails()
        if code != "C1":
            raise Invalid("account_unknown", f"The ERP has no account {code}.")
        return LiveAccount(False, Decimal(5000), Decimal("120.50"), AS_OF)


async def ask(api: Api, erp: Erp, policy: AvailabilityPolicy, code: str = "C1", *, live: bool = True) -> httpx.Response:
    connector = Connector("erp", "ERP", dict, _nothing, read_account=erp.read)
    source = live_accounts([OpenConnection("erp", connector, None)], "erp", api.services.control)
    services = replace(api.services, availability=policy, account_source=source)
    token = await api.token("portal-1")
    async with served(services) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        headers = {"Authorization": f"Bearer {token}"}
        return await http.post(f"/v1/accounts/{code}:validate", json={"live": live}, headers=headers)


async def test_a_live_answer_is_the_erps_and_says_so(database_url: str) -> None:
    async with open_api(database_url) as api:
        answer = (await ask(api, Erp(), ASKED)).json()
        assert (answer["source"], answer["credit_limit"], answer["open_invoices"]) == ("erp", "5000", "120.50")
        assert answer["as_of"] == "2026-03-02T09:31:00Z"
        assert "fallback" not in answer
        unasked = (await ask(api, Erp(), ASKED, live=False)).json()
        assert (unasked["source"], unasked["credit_limit"]) == ("ledger", "1000")


async def test_without_the_erp_the_ledger_answers_and_says_why(database_url: str) -> None:
    async with open_api(database_url) as api:
        silent, down, strange = Erp(), Erp(), Erp()
        silent.silent = True
        down.fails = lambda: Unavailable("down", "The partner does not answer.")
        for erp, policy, why in (
            (silent, HURRIED, "The ERP did not answer in time."), (down, ASKED, "The ERP does not answer."),
        ):  # fmt: skip
            answer = (await ask(api, erp, policy)).json()
            assert (answer["source"], answer["credit_limit"], answer["fallback"]) == ("ledger", "1000", why)
        unknown = (await ask(api, strange, ASKED, "C2")).json()
        assert (unknown["source"], unknown["fallback"]) == ("ledger", "The ERP has no account C2.")
        refused = await ask(api, silent, msgspec.structs.replace(HURRIED, fallback="refuse"))
        assert (refused.status_code, refused.json()["code"]) == (503, "erp_silent")
        never = (await ask(api, Erp(), AvailabilityPolicy())).json()
        assert (never["source"], never["fallback"]) == ("ledger", "Live answers are not offered here.")


async def test_a_paused_erp_is_not_asked(database_url: str) -> None:
    async with open_api(database_url) as api:
        await api.services.control.pause_connection(system_clock(), "olive", "erp")
        erp = Erp()
        answer = (await ask(api, erp, ASKED)).json()
        assert (answer["source"], answer["fallback"]) == ("ledger", "The ERP is paused by an operator.")
        assert erp.most_at_once == 0


async def test_however_many_ask_the_erp_sees_few_at_once(database_url: str) -> None:
    async with open_api(database_url, seeded=False) as api:
        erp = Erp()
        opened = OpenConnection("erp", Connector("erp", "ERP", dict, _nothing, read_account=erp.read), None)
        source = live_accounts([opened], "erp", api.services.control)
        assert source is not None
        await asyncio.gather(*(source("C1") for _ in range(40)))
        assert erp.most_at_once == 4
        assert live_accounts([opened], "another", api.services.control) is None
