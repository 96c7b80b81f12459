"""Bazaar, a marketplace that is polled; it collects the money. Shipments and cancellations are probed by number."""

from __future__ import annotations

from crossdock.connectors.bazaar.client import (
    BazaarSettings,
    acknowledge,
    cancel,
    check,
    find_acknowledgment,
    find_cancellation,
    find_shipment,
    open_bazaar,
    read_orders,
    ship,
)
from crossdock.connectors.bazaar.stock import STOCK
from crossdock.connectors.bazaar.translate import order_facts
from crossdock.kit.connector import Connector, Feed, Operation

CONNECTOR = Connector(
    system="bazaar",
    title="Bazaar marketplace",
    settings=BazaarSettings,
    secrets=("key",),
    open=open_bazaar,
    operations=(
        Operation("channel.acknowledge", perform=acknowledge, probe=find_acknowledgment, repeatable=True),
        Operation("channel.ship", perform=ship, probe=find_shipment),
        Operation("channel.cancel", perform=cancel, probe=find_cancellation),
    ),
    feeds=(Feed("orders", read=read_orders, interval_seconds=3, translate=order_facts),),
    stock=STOCK,
    check=check,
)
