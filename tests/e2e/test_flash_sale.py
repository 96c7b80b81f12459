"""Four channels sell the same scarce goods while processes are killed, partners stopped and answers lost."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.prove.flash_sale import SaleOutcome, run_flash_sale
from crossdock.prove.sale_world import Sale

pytestmark = [pytest.mark.process, pytest.mark.slow]
SKUS = int(os.environ.get("CROSSDOCK_PROOF_SKUS", "24"))
ORDERS = int(os.environ.get("CROSSDOCK_PROOF_ORDERS", "120"))
SEED = int(os.environ.get("CROSSDOCK_PROOF_SEED", "5"))


def found(outcome: SaleOutcome) -> dict[str, list[str]]:
    return {checker: violations for checker, violations in outcome.violations.items() if violations}


async def test_nothing_is_sold_twice_where_shares_divide_the_stock(database_url: str, tmp_path: Path) -> None:
    outcome = await run_flash_sale(Sale(seed=SEED, skus=SKUS, orders=ORDERS), database_url, tmp_path)
    assert not found(outcome)
    assert outcome.oversold_units == Decimal(0)
    assert outcome.facts_acknowledged > ORDERS / 3, "the sale took place"
    assert sum(outcome.faults.values()) == 8


async def test_a_unit_that_two_channels_sold_is_promised_to_one_order(database_url: str, tmp_path: Path) -> None:
    """Shares above 100 % let channels sell twice: how often is told, and nobody is promised what is not there. Kits are
    sold beside their components, so both take from the same few units."""
    sale = Sale(seed=SEED, skus=6, orders=60, policy="shared", fault_count=4, kits=2)
    outcome = await run_flash_sale(sale, database_url, tmp_path)
    assert not found(outcome)
    assert outcome.oversold_units >= 0
