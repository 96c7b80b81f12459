"""What users of other systems suffered has a test here that carries its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
STOCK = (
    "magento/magento2#6363 nopSolutions/nopCommerce#4184 vendurehq/vendure#3508 OCA/connector-magento#226 "
    "Starktail/woocommerce_fusion#170 libracore/WooCommerceConnector#41 medusajs/medusa#12401 medusajs/medusa#13625 "
    "medusajs/medusa#11703 magento/inventory#3178 openlinker-project/openlinker#2623 microsoft/BCApps#6395 "
    "openlinker-project/openlinker#2591"
)
UNITS_AND_KITS = "woocommerce_fusion#PR257 OCA/product-pack#208 openlabs/magento_integration#176"


@pytest.fixture(scope="module")
def told() -> str:
    """The docstrings of all tests, so far as threads are named in them."""
    texts = (path.read_text("utf-8") for path in sorted(TESTS.rglob("test_*.py")) if path.name != Path(__file__).name)
    found = (re.findall(r"def test_\w+\([^)]*\) -> None:\n    \"\"\"(.*?)\"\"\"", text, re.DOTALL) for text in texts)
    return "\n".join(docstring for docstrings in found for docstring in docstrings).replace(" PR ", "#PR")


@pytest.mark.parametrize("thread", [*STOCK.split(), *UNITS_AND_KITS.split()])
def test_a_thread_of_stock_units_and_kits_is_named_by_a_test(thread: str, told: str) -> None:
    assert re.search(re.escape(thread) + r"\b", told)
