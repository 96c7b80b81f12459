"""What availability needs to know of products: kept in memory, right at every use, bounded.

Every reading of stock brings the reference version and the products that changed since the version which is kept, so
what is kept costs no round trip of its own. Products that are sold alike (unit, packs, safety stock) share one object:
one that is kept costs about a hundred bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from crossdock.ledger.remembered import Remembered
from crossdock.model.documents import Component

# Half of them are kept for sure: a catalogue of a million.
KEPT_MAX: Final = 2_000_000
CHANGED_MAX: Final = 1_000
FORMS_MAX: Final = 10_000
# Nothing changed since this version.
NEVER: Final = 2**62
_NOTHING: Final = Decimal(0)


class PackSize(msgspec.Struct, frozen=True, gc=False):
    unit: str
    base_quantity: Decimal


class ProductFacts(msgspec.Struct, frozen=True, gc=False):
    """What availability needs to know of a product."""

    base_unit: str
    packs: tuple[PackSize, ...] = ()
    status: str = "active"
    components: tuple[Component, ...] = ()
    safety_stock: Decimal = _NOTHING


_FACTS: Final = msgspec.json.Decoder(ProductFacts)


class KnownProducts:
    """One for each process that counts much."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._version = -1
        self._known: Remembered[ProductFacts] = Remembered(kept_max)
        self._forms: dict[ProductFacts, ProductFacts] = {}

    @property
    def since(self) -> int:
        """A reading brings what changed after this version."""
        return NEVER if self._known.is_empty else self._version

    def count(self) -> int:
        """How many are kept."""
        return self._known.count()

    def catch_up(self, version: int, since: int, changed: Sequence[str]) -> None:
        """`changed` are the products that changed after `since`, as of `version`; more than CHANGED_MAX may be more."""
        if version <= self._version:
            # An answer that a younger one overtook.
            return
        if since > self._version or len(changed) > CHANGED_MAX:
            self._known.clear()
        self._known.forget(changed)
        self._version = version

    def find(self, skus: Iterable[str]) -> dict[str, ProductFacts]:
        """Those of the SKUs that are known."""
        find = self._known.find
        return {sku: facts for sku in skus if (facts := find(sku)) is not None}

    def learn(self, version: int, rows: Iterable[tuple[str, bytes]]) -> dict[str, ProductFacts]:
        """The facts of products as they were at `version`: (SKU, document)."""
        found = {sku: _FACTS.decode(body) for sku, body in rows}
        # What changed meanwhile may be among them.
        if version >= self._version:
            if len(self._forms) > FORMS_MAX:
                self._forms.clear()
            for sku, facts in found.items():
                self._known.keep(sku, self._forms.setdefault(facts, facts))
        return found
