"""`config check` about the channels that are told stock: they must exist, and their systems must be able to hear it."""

from __future__ import annotations

import re
from pathlib import Path

from crossdock.app import check_configuration, find_connectors
from crossdock.policy.configuration import load_configuration

ROOT = Path(__file__).parents[2]


def problems_with(text: str, tmp_path: Path) -> list[tuple[str, str]]:
    file = tmp_path / "crossdock.toml"
    file.write_text((ROOT / "crossdock.toml").read_text(encoding="utf-8") + text, encoding="utf-8")
    secret = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1ub3QtcmVhbA=="
    names = re.findall(r'env = "(\w+)"', file.read_text(encoding="utf-8"))
    environment = {name: "http://127.0.0.1:1" if name.endswith("_URL") else secret for name in names}
    found = check_configuration(load_configuration(file, environment), find_connectors())
    return [(problem.code, problem.field) for problem in found]


def test_the_demonstration_tells_four_channels(tmp_path: Path) -> None:
    assert problems_with("", tmp_path) == []


def test_a_channel_that_is_told_stock_must_exist(tmp_path: Path) -> None:
    assert problems_with("\n[stock.channels.ebay]\n", tmp_path) == [("channel_unknown", "stock.channels.ebay")]


def test_a_system_that_cannot_be_told_is_named(tmp_path: Path) -> None:
    channel = '\n[channels.desk]\nconnection = "carrier"\ncurrencies = ["EUR"]\npayments = ["card"]\n'
    assert problems_with(channel + "[stock.channels.desk]\n", tmp_path) == [("stock_untellable", "stock.channels.desk")]
    assert problems_with(channel + "[stock.channels.desk]\npublish = false\n", tmp_path) == []
