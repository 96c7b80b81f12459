"""Acme WMS: releases fulfilment orders, reads shipments."""

from __future__ import annotations

from acme_crossdock.client import (
    AcmeSettings,
    check,
    find_release,
    open_acme,
    read_shipments,
    read_webhook,
    release,
)
from acme_crossdock.translate import shipment_facts
from crossdock.kit.connector import Connector, Feed, Operation, Webhook

CONNECTOR = Connector(
    system="acme",
    title="Acme WMS",
    settings=AcmeSettings,
    secrets=("key",),
    open=open_acme,
    operations=(Operation("wms.release", perform=release, probe=find_release, concurrency=4),),
    feeds=(Feed("shipments", read=read_shipments, interval_seconds=10, translate=shipment_facts),),
    webhook=Webhook(read=read_webhook),
    check=check,
)
