"""What a queue leaves to its user: an order's row, unique by number, with its body and a bit for each delivery made.

A job that runs twice sets its bit twice, so an order is never completed before all five were delivered.
"""

from __future__ import annotations

from bench.peers.saga import STEPS, WARM

ALL = 2**STEPS - 1
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS saga_orders (
    number bigint PRIMARY KEY, made integer NOT NULL DEFAULT 0, body json NOT NULL
) WITH (fillfactor = 60);
COMMENT ON TABLE saga_orders IS 'from number {WARM} on: not measured';
"""
COUNT_COMPLETED = f"SELECT count(*) FROM saga_orders WHERE made = {ALL}"
