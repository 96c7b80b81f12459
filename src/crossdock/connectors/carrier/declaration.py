"""The carrier: it follows the packages of a shipment and reports their delivery, by webhook and by poll."""

from __future__ import annotations

from crossdock.connectors.carrier.client import (
    CarrierSettings,
    check,
    find_trackings,
    open_carrier,
    read_trackings,
    read_webhook,
    track,
)
from crossdock.connectors.carrier.translate import tracking_facts
from crossdock.kit.connector import Connector, Feed, Operation, Webhook

CONNECTOR = Connector(
    system="carrier",
    title="Carrier",
    settings=CarrierSettings,
    secrets=("key",),
    open=open_carrier,
    operations=(Operation("carrier.track", perform=track, probe=find_trackings, repeatable=True),),
    feeds=(Feed("trackings", read=read_trackings, interval_seconds=20, translate=tracking_facts),),
    webhook=Webhook(read=read_webhook),
    check=check,
)
