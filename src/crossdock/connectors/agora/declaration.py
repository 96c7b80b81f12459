"""Agora, a marketplace with thin signed webhooks: it says that something is new, we read what. It collects money."""

from __future__ import annotations

from crossdock.connectors.agora.client import (
    AgoraSettings,
    acknowledge,
    cancel,
    check,
    find_acknowledgment,
    find_cancellation,
    find_shipment,
    open_agora,
    read_orders,
    read_webhook,
    ship,
)
from crossdock.connectors.agora.stock import STOCK
from crossdock.connectors.agora.translate import order_facts
from crossdock.kit.connector import Connector, Feed, Operation, Webhook

CONNECTOR = Connector(
    system="agora",
    title="Agora marketplace",
    settings=AgoraSettings,
    secrets=("key",),
    open=open_agora,
    operations=(
        Operation("channel.acknowledge", perform=acknowledge, probe=find_acknowledgment, repeatable=True),
        Operation("channel.ship", perform=ship, probe=find_shipment),
        Operation("channel.cancel", perform=cancel, probe=find_cancellation),
    ),
    feeds=(Feed("orders", read=read_orders, interval_seconds=15, translate=order_facts),),
    webhook=Webhook(read=read_webhook),
    stock=STOCK,
    check=check,
)
