"""The partners, master data and parked facts of the small business of `estate`."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
CUSTOMERS = (
    ("C-1001", "Bremen Marine 03"),
    ("C-1002", "Utrecht Workshop 05"),
    ("C-1003", "Lille Facility 07"),
    ("C-1004", "Leeds Industrial 11"),
    ("C-1005", "Bremen Elektro 13"),
)
PRODUCTS = (
    ("ND-0001", "Cable gland M5 brass", "C62", "2.35"),
    ("ND-0002", "Copper cable 6 mm2", "MTR", "1.18"),
    ("ND-0004", "Contactor 8 A", "C62", "24.90"),
    ("ND-0007", "Hydraulic oil ISO 11", "LTR", "6.45"),
    ("ND-0008", "Bearing 6212", "C62", "8.70"),
    ("ND-0015", "LED panel 19 W", "C62", "31.20"),
)
CHANNELS = ("shop", "portal", "market-nord", "market-sued")
SYSTEMS = (
    ("erp", "tryton", "12"),
    ("tax", "taxengine", None),
    ("payments", "payment", "50"),
    ("carrier", "carrier", None),
    ("wms", "wms", "20"),
    ("shop", "webshop", "10"),
    ("portal", "portal", None),
    ("market-nord", "marketplace", "4"),
    ("market-sued", "marketplace", "4"),
)


async def place_partners(pool: Any, now: datetime) -> None:
    await pool.executemany(
        "INSERT INTO customers VALUES ($1,$2,'active','{}','erp',$3,1)", [(code, name, now) for code, name in CUSTOMERS]
    )
    await pool.executemany(
        "INSERT INTO products VALUES ($1,$2,'active','{}','erp',$3,1)",
        [(sku, name, now) for sku, name, _, _ in PRODUCTS],
    )
    for name, system, rate in SYSTEMS:
        down = name == "erp"
        await pool.execute(
            """INSERT INTO connections (connection, system, calls_per_second, burst, last_ok_at, last_error_at,
            last_error,
            paused, paused_by, paused_at) VALUES ($1,$2,$3,5,$4,$5,$6,$7,$8,$9)""",
            name,
            system,
            Decimal(rate) if rate else None,
            now - timedelta(seconds=370 if down else 3),
            now - timedelta(seconds=8 if down else 4000),
            "It cannot be reached: connection refused." if down else None,
            name == "market-sued",
            "olive" if name == "market-sued" else None,
            now - timedelta(minutes=12) if name == "market-sued" else None,
        )
    for connection, operation, state in (
        ("erp", "erp.place_order", "open"),
        ("erp", "erp.ship", "closed"),
        ("tax", "tax.quote", "closed"),
        ("payments", "payment.authorise", "closed"),
        ("payments", "payment.capture", "half_open"),
        ("wms", "wms.release", "closed"),
    ):
        await pool.execute(
            "INSERT INTO lanes (connection,operation,state,failures,opened_at,retry_at) VALUES ($1,$2,$3,$4,$5,$6)",
            connection,
            operation,
            state,
            5 if state == "open" else 0,
            now - timedelta(seconds=350) if state == "open" else None,
            now + timedelta(seconds=20) if state == "open" else None,
        )
    for connection, feed, age_seconds in (
        ("erp", "products", 380),
        ("erp", "balances", 380),
        ("wms", "shipments", 6),
        ("market-nord", "orders", 4),
        ("market-sued", "orders", 730),
        ("carrier", "deliveries", 12),
    ):
        await pool.execute(
            "INSERT INTO feeds (connection, feed, read_at, interval_seconds) VALUES ($1,$2,$3,10)",
            connection,
            feed,
            now - timedelta(seconds=age_seconds),
        )
    for name, kind in (("api-1", "api"), ("worker-1", "worker")):
        await pool.execute("INSERT INTO processes VALUES ($1,$2,$3,$4)", name, kind, now - timedelta(hours=2), now)


async def place_parked_facts(pool: Any, now: datetime) -> None:
    for index in range(4):
        await pool.execute(
            """INSERT INTO facts (connection, kind, business_key, version, subject, state, body, raw, received_at,
                due_at,
                attempt, cause, message, owner, next_action)
            VALUES ('shop','order.placed',$1,'1',$1,'quarantined','{}',$2,$3,$3,1,'sku_unknown',$4,'sales',
                'Add the product or correct the shop, then replay.')""",
            f"S-9{index:03d}",
            msgspec.json.encode(
                {"order": f"S-9{index:03d}", "email": "jette@example.org", "note": HOSTILE, "sku": HOSTILE}
            ),
            now - timedelta(minutes=9 - index),
            f"Line 1 names a product that is not in the catalogue: {HOSTILE}.",
        )
