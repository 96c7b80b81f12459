"""The demonstration's world: one distributor's catalogue, customers, prices and stock, made from a seed.

Every sandbox system (ERP, shops, marketplaces, warehouse, tax engine) is seeded from here, so that they describe
the same business. Nothing here is read by Crossdock itself: it learns the world through its connections.

The distributor is "Nordhafen Supply": company currency EUR, regions EU (Germany, Netherlands, France; EUR) and UK
(Great Britain; GBP), warehouses HAM (Hamburg) and BHX (Birmingham). Goods of others lie at DSP and FBB.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

SEED: Final = 20260101
WAREHOUSES: Final = ("HAM", "BHX")
# What others keep for it: a supplier who ships for us, a fulfilment centre of a marketplace. Only the supplier has
# the last products of the catalogue; the centre has every twentieth.
SUPPLIER, CENTRE = "DSP", "FBB"
FOREIGN_PLACES: Final = (SUPPLIER, CENTRE)
OWN_PRODUCTS: Final = 234
GBP_PER_EUR: Final = Decimal("0.86")
CENT: Final = Decimal("0.01")

# Region, tax category -> (tax code known to the tax engine and to the ERP, rate).
TAX_CODES: Final[dict[tuple[str, str], tuple[str, Decimal]]] = {
    ("EU", "standard"): ("EU-STD", Decimal("0.19")),
    ("EU", "reduced"): ("EU-RED", Decimal("0.07")),
    ("UK", "standard"): ("UK-STD", Decimal("0.20")),
    ("UK", "reduced"): ("UK-RED", Decimal("0.05")),
}
# How an order is taxed that bears no tax -> the code of it, at a rate of nought.
UNTAXED_CODES: Final = {"reverse_charge": "REVERSE", "exempt": "EXEMPT", "export": "EXPORT"}
REGION_OF_COUNTRY: Final = {"DE": "EU", "NL": "EU", "FR": "EU", "GB": "UK"}
CURRENCY_OF_REGION: Final = {"EU": "EUR", "UK": "GBP"}


@dataclass(frozen=True, slots=True)
class WorldPack:
    """A packaging level: `quantity` base units in one `unit` (UN/ECE Rec 20; X + Rec 21 for packages) and its GTIN."""

    unit: str
    quantity: int
    gtin: str


@dataclass(frozen=True, slots=True)
class WorldComponent:
    """`quantity` base units of `sku` are in one of a kit."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class WorldProduct:
    """With `components` it is a kit: it stands on no shelf, and is packed when it is sold."""

    sku: str
    name: str
    base_unit: str
    tax_category: str
    list_price_eur: Decimal
    list_price_gbp: Decimal
    cost_eur: Decimal
    packs: tuple[WorldPack, ...]
    stock: tuple[tuple[str, int], ...]
    components: tuple[WorldComponent, ...] = ()


@dataclass(frozen=True, slots=True)
class WorldAddress:
    name: str
    street: str
    city: str
    postal_code: str
    country: str


@dataclass(frozen=True, slots=True)
class WorldCustomer:
    code: str
    name: str
    email: str
    group: str
    region: str
    currency: str
    payment_term_days: int
    credit_limit: Decimal
    status: str
    gln: str
    address: WorldAddress
    tax_identifier: str = ""


@dataclass(frozen=True, slots=True)
class WorldPrice:
    """A contract price: for a customer group, per base unit, from `quantity_min` base units up."""

    group: str
    sku: str
    currency: str
    quantity_min: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class World:
    """`products` stand on shelves, `kits` are packed of them."""

    products: tuple[WorldProduct, ...]
    customers: tuple[WorldCustomer, ...]
    prices: tuple[WorldPrice, ...]
    kits: tuple[WorldProduct, ...] = ()

    @property
    def sold(self) -> tuple[WorldProduct, ...]:
        return (*self.products, *self.kits)

    @property
    def shelved(self) -> tuple[WorldProduct, ...]:
        """What lies in warehouses of its own."""
        return tuple(row for row in self.products if any(count for place, count in row.stock if place in WAREHOUSES))


def make_world(seed: int = SEED, product_count: int = 240, customer_count: int = 48) -> World:
    """Return the same world for the same seed: 240 products, 6 kits, 48 business customers, 4 price groups."""
    chance = random.Random(seed)
    products = tuple(_product(chance, index) for index in range(1, product_count + 1))
    customers = tuple(_customer(chance, index) for index in range(1, customer_count + 1))
    kits = _kits(products)
    prices = tuple(price for product in (*products, *kits) for price in _prices(product))
    return World(products, customers, prices, kits)


_KINDS: Final = (
    ("Hex bolt M{n} zinc", "C62", (12, 90)), ("Cable gland M{n} brass", "C62", (150, 900)),
    ("Copper cable {n} mm2", "MTR", (60, 700)), ("Epoxy resin {n} series", "KGM", (900, 4200)),
    ("Contactor {n} A", "C62", (1800, 9900)), ("LED panel {n} W", "C62", (1500, 7900)),
    ("Work glove size {n}", "PR", (190, 1290)), ("Hydraulic oil ISO {n}", "LTR", (350, 1290)),
    ("Bearing 62{n:02d}", "C62", (240, 3900)), ("First aid kit {n}", "C62", (990, 5900)),
)  # fmt: skip


def _product(chance: random.Random, index: int) -> WorldProduct:
    name, unit, (cents_low, cents_high) = _KINDS[index % len(_KINDS)]
    price = Decimal(chance.randint(cents_low, cents_high)) * CENT
    price_gbp = (price * GBP_PER_EUR).quantize(CENT, ROUND_HALF_UP)
    box = chance.choice((6, 10, 12, 25, 50)) if unit in ("C62", "PR") else chance.choice((5, 10, 25))
    packs = [WorldPack("XBX", box, _gtin(2_000_000 + index))]
    if index % 3 == 0:
        packs.append(WorldPack("XPX", box * 40, _gtin(3_000_000 + index)))
    stock = tuple((warehouse, chance.randint(400, 9000)) for warehouse in WAREHOUSES)
    if index > OWN_PRODUCTS:
        stock = (*((warehouse, 0) for warehouse in WAREHOUSES), (SUPPLIER, sum(count for _, count in stock)))
    elif index % 20 == 0:
        stock = (*stock, (CENTRE, stock[0][1] // 4))
    category = "reduced" if index % 10 == 9 else "standard"
    return WorldProduct(
        sku=f"ND-{index:04d}", name=name.format(n=4 + index % 37), base_unit=unit, tax_category=category,
        list_price_eur=price, list_price_gbp=price_gbp, cost_eur=(price * Decimal("0.6")).quantize(CENT),
        packs=(WorldPack(unit, 1, _gtin(1_000_000 + index)), *packs), stock=stock,
    )  # fmt: skip


_KITS: Final = ("Site starter", "Panel fitter", "Pump service", "Workshop", "Night shift", "Cable end")
_KIT_QUANTITIES: Final = (1, 4, 2)


def _kits(products: tuple[WorldProduct, ...]) -> tuple[WorldProduct, ...]:
    """Sets of three products each, 5 % below the sum of their prices; as many as the products allow."""
    pieces = [row for row in products if row.base_unit == "C62" and row.tax_category == "standard"]
    found = []
    for index, name in enumerate(_KITS, start=1):
        parts = list(zip(pieces[index * 7 : index * 7 + 6 : 2], _KIT_QUANTITIES, strict=False))
        if len(parts) < len(_KIT_QUANTITIES):
            break
        price = sum((row.list_price_eur * count for row, count in parts), Decimal(0)) * Decimal("0.95")
        price = price.quantize(CENT, ROUND_HALF_UP)
        found.append(WorldProduct(
            sku=f"KT-{index:04d}", name=f"{name} kit", base_unit="C62", tax_category="standard", list_price_eur=price,
            list_price_gbp=(price * GBP_PER_EUR).quantize(CENT, ROUND_HALF_UP),
            cost_eur=(price * Decimal("0.6")).quantize(CENT), packs=(WorldPack("C62", 1, _gtin(4_000_000 + index)),),
            stock=(), components=tuple(WorldComponent(row.sku, count) for row, count in parts),
        ))  # fmt: skip
    return tuple(found)


_PLACES: Final = (("DE", "Bremen", "28195"), ("NL", "Utrecht", "3511 AA"), ("FR", "Lille", "59000"),
                  ("GB", "Leeds", "LS1 4AP"))  # fmt: skip
_TRADES: Final = ("Elektro", "Marine", "Workshop", "Facility", "Bau", "Industrial")


def _customer(chance: random.Random, index: int) -> WorldCustomer:
    country, city, postal_code = _PLACES[index % len(_PLACES)]
    region = REGION_OF_COUNTRY[country]
    name = f"{city} {_TRADES[index % len(_TRADES)]} {index:02d}"
    address = WorldAddress(name, f"Harbour Road {index}", city, postal_code, country)
    status = "blocked" if index % 24 == 0 else "active"
    limit = Decimal(chance.choice((5_000, 25_000, 100_000, 1_000_000)))
    return WorldCustomer(
        code=f"C{index:04d}", name=name, email=f"buyer{index:02d}@example.com", group=f"G{1 + index % 4}",
        region=region,
        currency=CURRENCY_OF_REGION[region], payment_term_days=(14, 30, 60)[index % 3],
        credit_limit=limit, status=status,
        gln=_with_check_digit(f"4012345{index:05d}"), address=address, tax_identifier=_tax_identifier(country, index),
    )  # fmt: skip


def _tax_identifier(country: str, index: int) -> str:
    """Valid for value added tax in the Netherlands and in France; customers elsewhere are taxed where they are."""
    if country == "NL":
        digits = f"{80_000_000 + index * 11}"
        rest = sum(int(digit) * weight for digit, weight in zip(digits, range(9, 1, -1), strict=True)) % 11
        return f"NL{digits}{rest}B01" if rest < 10 else _tax_identifier(country, index + 1000)
    if country == "FR":
        body = f"{40_000_000 + index * 7}0"
        doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(body)))
        company = int(body) + -sum(value // 10 + value % 10 for value in doubled) % 10
        return f"FR{(12 + 3 * (company % 97)) % 97:02d}{company}"
    return ""


def _prices(product: WorldProduct) -> list[WorldPrice]:
    """Groups G1..G4 pay 2, 5, 8 and 12 % below list; 100 base units and 1,000 base units lower it by 3 and 7 % more."""
    found = []
    for group, percent in (("G1", 2), ("G2", 5), ("G3", 8), ("G4", 12)):
        for quantity_min, more in ((1, 0), (100, 3), (1000, 7)):
            for currency, price in (("EUR", product.list_price_eur), ("GBP", product.list_price_gbp)):
                reduced = price * (100 - percent - more) / 100
                unit_price = max(reduced.quantize(CENT, ROUND_HALF_UP), CENT)
                found.append(WorldPrice(group, product.sku, currency, quantity_min, unit_price))
    return found


def _gtin(serial: int) -> str:
    return _with_check_digit(f"40123{serial:07d}".zfill(13))


def _with_check_digit(body: str) -> str:
    """Append the GS1 check digit (weights 3, 1 from the right)."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body)))
    return f"{body}{-total % 10}"
