"""The tax engine: a quote for the order, a committed transaction per shipment, unique by its code."""

from __future__ import annotations

from crossdock.connectors.tax.client import (
    TaxSettings,
    check,
    commit,
    find_transaction,
    find_void,
    open_tax,
    quote,
    void,
)
from crossdock.kit.connector import Connector, Operation

CONNECTOR = Connector(
    system="tax",
    title="Tax engine",
    settings=TaxSettings,
    secrets=("key",),
    open=open_tax,
    operations=(
        Operation("tax.quote", perform=quote, repeatable=True, concurrency=8),
        Operation("tax.commit", perform=commit, probe=find_transaction, repeatable=True),
        Operation("tax.void", perform=void, probe=find_void, repeatable=True),
    ),
    check=check,
)
