"""The payment provider: authorise at acceptance, capture per shipment. It honours the idempotency key."""

from __future__ import annotations

from crossdock.connectors.payment.client import (
    PaymentSettings,
    authorise,
    capture,
    check,
    find_authorisation,
    find_capture,
    find_refund,
    find_void,
    open_payment,
    refund,
    void,
)
from crossdock.kit.connector import Connector, Operation

CONNECTOR = Connector(
    system="payment",
    title="Payment provider",
    settings=PaymentSettings,
    secrets=("key",),
    open=open_payment,
    operations=(
        Operation("payment.authorise", perform=authorise, probe=find_authorisation, repeatable=True),
        Operation("payment.capture", perform=capture, probe=find_capture, repeatable=True),
        Operation("payment.void", perform=void, probe=find_void, repeatable=True),
        Operation("payment.refund", perform=refund, probe=find_refund, repeatable=True),
    ),
    check=check,
)
