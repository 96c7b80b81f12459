"""The warehouse system: instructions go out; shipments, short picks and stock come in. Its numbers are unique."""

from __future__ import annotations

from crossdock.connectors.wms.client import (
    WmsSettings,
    cancel,
    check,
    find_cancellation,
    find_release,
    open_wms,
    read_balances,
    read_shipments,
    read_shorts,
    read_stock,
    read_webhook,
    release,
)
from crossdock.connectors.wms.translate import shipment_facts, short_facts
from crossdock.kit.connector import Connector, Feed, Operation, Webhook

CONNECTOR = Connector(
    system="wms",
    title="Warehouse system",
    settings=WmsSettings,
    secrets=("key",),
    open=open_wms,
    operations=(
        Operation("wms.release", perform=release, probe=find_release, repeatable=True),
        Operation("wms.cancel", perform=cancel, probe=find_cancellation, repeatable=True),
    ),
    feeds=(
        Feed("shipments", read=read_shipments, interval_seconds=10, translate=shipment_facts),
        Feed("shorts", read=read_shorts, interval_seconds=15, translate=short_facts),
        Feed("stock", read=read_stock, interval_seconds=15),
    ),
    webhook=Webhook(read=read_webhook),
    read_balances=read_balances,
    check=check,
)
