"""The demonstration's business is large and mixed enough to show what Crossdock is for."""

from __future__ import annotations

from collections import Counter

from crossdock.model.codes import check_country, check_currency, check_gln, check_gtin, check_unit
from crossdock.sandbox.world import WAREHOUSES, make_world


def test_products_have_units_packs_and_stock_in_two_warehouses() -> None:
    world = make_world()
    assert len(world.products) >= 200
    assert len({product.base_unit for product in world.products}) >= 4
    assert sum(len(product.packs) > 1 for product in world.products) >= 100
    for product in world.sold:
        for pack in product.packs:
            assert check_unit(pack.unit)
            assert not pack.gtin or check_gtin(pack.gtin)
    for warehouse in WAREHOUSES:
        assert sum(dict(product.stock)[warehouse] > 0 for product in world.products) >= 200


def test_customers_have_terms_limits_and_prices_with_breaks() -> None:
    world = make_world()
    assert len(world.customers) >= 40
    assert {customer.region for customer in world.customers} >= {"EU", "UK"}
    assert {customer.currency for customer in world.customers} == {"EUR", "GBP"}
    assert len({customer.payment_term_days for customer in world.customers}) > 1
    assert all(customer.credit_limit > 0 for customer in world.customers)
    for customer in world.customers:
        check_gln(customer.gln)
        check_country(customer.address.country)
        check_currency(customer.currency)
    breaks = Counter((price.group, price.sku, price.currency) for price in world.prices)
    assert max(breaks.values()) > 1
    assert {price.group for price in world.prices} >= {customer.group for customer in world.customers if customer.group}
