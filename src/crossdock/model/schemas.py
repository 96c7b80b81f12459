"""JSON Schemas (2020-12) of the canonical documents, facts and answers, generated from the types."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from crossdock.model.documents import Customer, PriceAgreement, Product
from crossdock.model.facts import FACT_BODIES
from crossdock.model.fulfilment import FulfilmentOrder, Invoice, Payment, Shipment, ShipmentPart
from crossdock.model.orders import Order, OrderAcknowledgment, OrderPlaced, OrderProgress
from crossdock.model.stock import ChannelAvailability, InboundSupply, InventoryBalance, StockMovement

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = "#/$defs/{name}"

# Name -> type of every document that crosses our border.
DOCUMENTS: Final[Mapping[str, Any]] = MappingProxyType({
    kind.__name__: kind
    for kind in (
        Order, OrderPlaced, OrderAcknowledgment, OrderProgress, Product, Customer, PriceAgreement, InventoryBalance,
        StockMovement, InboundSupply, ChannelAvailability, FulfilmentOrder, Shipment, ShipmentPart, Invoice, Payment,
        *FACT_BODIES.values(),
    )
})  # fmt: skip


def make_schema(name: str) -> dict[str, Any]:
    """The schema of one document, complete in itself. Raises KeyError for a name not in `DOCUMENTS`."""
    (reference,), definitions = msgspec.json.schema_components((DOCUMENTS[name],), ref_template=_REFERENCE)
    return {"$schema": DIALECT, "title": name, **reference, "$defs": dict(sorted(definitions.items()))}


def make_fact_schemas() -> dict[str, dict[str, Any]]:
    """Fact kind -> schema of its body."""
    return {kind: make_schema(body.__name__) for kind, body in FACT_BODIES.items()}
