"""The ERP is down while orders come, also from customers at their credit limit; then it returns.

The long form: `CROSSDOCK_PROOF_ORDERS=1000 .venv/bin/pytest tests/integration/engine/test_erp_outage.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from decimal import Decimal

from tests.integration.engine.bench_world import make_arrival, make_placed, open_world
from tests.integration.engine.test_order_path import Working, eventually, steps_are_done

ORDERS = int(os.environ.get("CROSSDOCK_PROOF_ORDERS", "300"))
CUSTOMERS = 20
LIMIT = Decimal(1000)
ONE_ORDER = Decimal("99.96")


async def test_orders_taken_while_the_erp_is_down_reach_it_once_and_no_limit_is_passed(database_url: str) -> None:
    async with open_world(database_url) as world, Working(world):
        erp = world.partners["erp"]
        erp.down = True
        wishes = [
            make_arrival(make_placed(f"B-{n}", lines=1, quantity=40, customer=f"C{n % CUSTOMERS}", method="terms"))
            for n in range(ORDERS)
        ]
        answers = await asyncio.gather(*(world.intake.place(wish) for wish in wishes))
        states = Counter(answer.acknowledgment.state for answer in answers if answer.acknowledgment)
        each = ORDERS // CUSTOMERS
        fitting = min(each, int(LIMIT // ONE_ORDER))
        assert ORDERS % CUSTOMERS == 0
        assert states["accepted"] == fitting * CUSTOMERS
        assert states["held"] == ORDERS - fitting * CUSTOMERS
        assert erp.log == []
        waiting = await world.pool.fetchval(
            "SELECT count(*) FROM steps WHERE operation = 'erp.place_order' AND state IN ('ready', 'sending')"
        )
        assert waiting == states["accepted"]
        worst = await world.pool.fetchval("SELECT max(open_orders + open_invoices) FROM accounts")
        assert worst <= LIMIT
        erp.down = False
        await eventually(lambda: steps_are_done(world))
        placed = Counter(key for operation, key in erp.log if operation == "erp.place_order")
        accepted = [
            answer.order_id for answer in answers
            if answer.acknowledgment is not None and answer.acknowledgment.state == "accepted"
        ]  # fmt: skip
        assert placed == dict.fromkeys((f"CD{order_id:08d}/erp.place_order" for order_id in accepted), 1)
