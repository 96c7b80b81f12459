"""The ERP Tryton: sales orders, goods issues, invoices and payments; products, customers, prices and stock come in."""

from __future__ import annotations

from crossdock.connectors.tryton.accounts import read_account
from crossdock.connectors.tryton.client import TrytonSettings, check, open_tryton
from crossdock.connectors.tryton.feeds import read_balances, read_customers, read_prices, read_products, read_stock
from crossdock.connectors.tryton.orders import cancel_order, find_cancellation, find_order, place_orders
from crossdock.connectors.tryton.payments import book_payments, find_payment
from crossdock.connectors.tryton.shipping import find_shipment, ship
from crossdock.connectors.tryton.supply import read_supply
from crossdock.kit.connector import Connector, Feed, Operation

CONNECTOR = Connector(
    system="tryton",
    title="Tryton ERP",
    settings=TrytonSettings,
    secrets=("password",),
    open=open_tryton,
    operations=(
        Operation(
            "erp.place_order", perform_many=place_orders, probe=find_order, batch_max=20, concurrency=1,
            settle_seconds=2.0, timeout_seconds=120.0, one_worker=True,
        ),
        Operation(
            "erp.ship", perform_many=ship, probe=find_shipment, batch_max=10, concurrency=1, settle_seconds=2.0,
            timeout_seconds=120.0, one_worker=True,
        ),
        Operation(
            "erp.payment", perform_many=book_payments, probe=find_payment, batch_max=20, concurrency=1,
            settle_seconds=2.0, timeout_seconds=120.0, one_worker=True,
        ),
        Operation(
            "erp.cancel_order", perform=cancel_order, probe=find_cancellation, timeout_seconds=60.0, one_worker=True
        ),
    ),
    feeds=(
        Feed("products", read=read_products, interval_seconds=300),
        Feed("customers", read=read_customers, interval_seconds=60),
        Feed("prices", read=read_prices, interval_seconds=300),
        Feed("stock", read=read_stock, interval_seconds=60),
        Feed("supply", read=read_supply, interval_seconds=120),
    ),
    read_balances=read_balances,
    check=check,
    read_account=read_account,
)  # fmt: skip
