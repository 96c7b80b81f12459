"""The B2B portal: it calls our API itself; we tell it each milestone. It takes an event once, whatever we repeat."""

from __future__ import annotations

from crossdock.connectors.portal.client import PortalSettings, check, find_status, open_portal, tell
from crossdock.connectors.portal.stock import STOCK
from crossdock.kit.connector import Connector, Operation

CONNECTOR = Connector(
    system="portal",
    title="B2B portal",
    settings=PortalSettings,
    secrets=("key",),
    open=open_portal,
    operations=tuple(
        Operation(name, perform=tell, probe=find_status, repeatable=True)
        for name in ("channel.status", "channel.acknowledge", "channel.ship", "channel.cancel")
    ),
    stock=STOCK,
    check=check,
)
