"""The web shop: orders by signed webhook and by poll; acknowledgment, fulfilments and cancellation go back.

The shop counts every fulfilment and cancellation that it is sent, so both carry our reference and are probed by it.
"""

from __future__ import annotations

from crossdock.connectors.shop.client import (
    ShopSettings,
    acknowledge,
    cancel,
    check,
    find_acknowledgment,
    find_cancellation,
    find_fulfilment,
    open_shop,
    read_orders,
    read_webhook,
    ship,
)
from crossdock.connectors.shop.stock import STOCK
from crossdock.connectors.shop.translate import order_facts
from crossdock.kit.connector import Connector, Feed, Operation, Webhook

CONNECTOR = Connector(
    system="shop",
    title="Web shop",
    settings=ShopSettings,
    secrets=("key",),
    open=open_shop,
    operations=(
        Operation("channel.acknowledge", perform=acknowledge, probe=find_acknowledgment, repeatable=True),
        Operation("channel.ship", perform=ship, probe=find_fulfilment),
        Operation("channel.cancel", perform=cancel, probe=find_cancellation),
    ),
    feeds=(Feed("orders", read=read_orders, interval_seconds=10, translate=order_facts),),
    webhook=Webhook(read=read_webhook),
    stock=STOCK,
    check=check,
)
