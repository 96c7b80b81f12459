from __future__ import annotations

import re
from pathlib import Path

import pytest

from crossdock.policy.configuration import Configuration, ConfigurationErrors, Problem, load_configuration
from crossdock.policy.plans import PlanFacts

DEMO = Path(__file__).parents[3] / "crossdock.toml"
TEXT = DEMO.read_text(encoding="utf-8")
ENVIRONMENT = {name: f"value-of-{name}" for name in re.findall(r'env = "(\w+)"', TEXT)}


def load(folder: Path, text: str, environment: dict[str, str] | None = None) -> Configuration:
    file = folder / "crossdock.toml"
    file.write_text(text, encoding="utf-8")
    return load_configuration(file, ENVIRONMENT if environment is None else environment)


def problems_of(folder: Path, text: str, environment: dict[str, str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationErrors) as raised:
        load(folder, text, environment)
    return raised.value.problems


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_the_demonstration_is_fine() -> None:
    found = load_configuration(DEMO, ENVIRONMENT)
    assert found.channel_connections == {
        "portal": "portal", "shop": "shop", "bazaar": "bazaar", "agora": "agora", "sales-app": "",
    }  # fmt: skip
    assert found.warehouse_connections == {"HAM": "wms", "BHX": "wms", "DSP": "supplier", "FBB": "centre"}
    assert found.policy.region_of("GB") == "UK"
    assert found.policy.locations_for("UK") == ("BHX", "HAM", "DSP")
    assert found.policy.locations_of("bazaar", "EU") == ("FBB", "HAM", "BHX")
    assert found.policy.locations_of("shop", "EU") == ("HAM", "BHX", "DSP")
    assert found.connections["shop"].settings["key"] == "value-of-CROSSDOCK_SHOP_KEY"
    assert found.connections["shop"].webhook_secrets == ("value-of-CROSSDOCK_SHOP_WEBHOOK_SECRET",)
    assert set(found.connections["shop"].referenced) == {"url", "key"}


def test_a_setting_is_found_in_its_line() -> None:
    found = load_configuration(DEMO, ENVIRONMENT)
    assert found.line_of("connections.tax.concurrency") == line_of(TEXT, "concurrency = 8")
    assert found.line_of("connections.tax.nothing") == line_of(TEXT, "[connections.tax]")


def test_secrets_do_not_show() -> None:
    found = load_configuration(DEMO, ENVIRONMENT)
    assert "value-of" not in repr(found)


@pytest.mark.parametrize(("channel", "order_type", "region", "payment", "plan"), [
    ("portal", "business", "EU", "terms", "business-terms"),
    ("portal", "business", "UK", "terms", "business-terms"),
    ("portal", "business", "EU", "card", "card-eu"),
    ("shop", "consumer", "EU", "card", "card-eu"),
    ("shop", "consumer", "UK", "card", "card-uk"),
    ("bazaar", "marketplace", "UK", "collected", "marketplace"),
])  # fmt: skip
def test_each_order_finds_its_plan(channel: str, order_type: str, region: str, payment: str, plan: str) -> None:
    policy = load_configuration(DEMO, ENVIRONMENT).policy
    facts = PlanFacts(channel, order_type, region, "EUR", payment, 100, 3, "", ("HAM",))
    assert policy.choose_plan(facts).name == plan
    assert policy.choose_plan(facts).name == plan  # the kept answer


def test_what_was_captured_is_booked_for_orders_by_card_and_for_no_other() -> None:
    plans = load_configuration(DEMO, ENVIRONMENT).policy.plans.by_name
    booked = {name for name, plan in plans.items() if any(s.operation == "erp.payment" for s in plan.shipment_steps)}
    assert booked == {"card-uk", "card-eu"}


def test_a_payment_is_not_booked_before_anything_has_left(tmp_path: Path) -> None:
    step = '    { operation = "erp.payment", connection = "erp", needs = ["tax.quote"] },\n'
    before = '    { operation = "channel.acknowledge", connection = "@channel", needs = ["erp.place_order"] },\n'
    assert before in TEXT
    (problem,) = problems_of(tmp_path, TEXT.replace(before, step + before, 1))
    assert problem.path == "plans[1].steps[2]"
    assert problem.next_action == 'Put it under shipment_steps, with needs = ["payment.capture", "erp.ship"].'


def test_a_tax_section_without_rules_is_a_mistake(tmp_path: Path) -> None:
    begin, end = TEXT.index("[[tax.rules]]"), TEXT.index("# ---", TEXT.index("[[tax.rules]]"))
    (problem,) = problems_of(tmp_path, TEXT[:begin] + TEXT[end:])
    assert (problem.path, problem.line) == ("tax", line_of(TEXT, "[tax]"))
    assert "nothing of this section counts" in problem.message


def test_the_version_follows_the_content(tmp_path: Path) -> None:
    first = load(tmp_path, TEXT).version
    assert first == load(tmp_path, TEXT).version != load(tmp_path, TEXT + "\n# changed\n").version


# What is written wrong instead of what, where that is said to be, and a part of what is said.
MISTAKES = [
    ('price_beyond = "hold"', 'price_beyond = "hodl"', "channels.portal.price_beyond", "hold, refuse, accept"),
    ('order_type = "consumer"', 'ordertype = "consumer"', "channels.shop.ordertype", "Did you mean order_type?"),
    ("price_tolerance_percent = 2", 'price_tolerance_percent = "much"', "channels.portal.price_tolerance_percent", ""),
    ("price_tolerance_percent = 2", "price_tolerance_percent = -2", "channels.portal.price_tolerance_percent", "zero"),
    ('GB = "UK"', 'XX = "UK"', "regions.XX", "XX is no country."),
    ('UK = ["BHX", "HAM", "DSP"]', 'UK = ["BHY", "HAM", "DSP"]', "sourcing.preference.UK", "There is no location BHY."),
    ('UK = ["BHX", "HAM", "DSP"]', "", "sourcing.preference", "Orders to the region UK have no location"),
    ('erp = "erp" ', 'erp = "sap" ', "cell.erp", "There is no connection sap."),
    ('payments = ["collected"]', 'payments = ["cheque"]', "channels.bazaar.payments[0]", "terms, card, collected"),
    ('payments = ["collected"]', "payments = []", "channels.bazaar.payments", "empty"),
    ("'payment == \"collected\"'", "'payment = \"collected\"'", "plans[0].when", "no CEL expression"),
    ("'payment == \"collected\"'", "'colour == \"red\"'", "plans[0].when", "names colour"),
    ("'payment == \"collected\"'", "'payment'", "plans[0].when", "instead of true or false"),
    ("'payment == \"collected\"'", "'payment > 3'", "plans[0].when", "cannot be evaluated"),
    ('name = "card-uk"', 'name = "marketplace"', "plans[2].name", "there twice"),
    ('needs = ["tax.quote"] },\n    { operation = "wms', 'needs = ["tax.quota"] },\n    { operation = "wms',
     "plans[0].steps[2]", "needs tax.quota, which is no step of this plan"),
    ('{ operation = "carrier.track", connection = "carrier" },', '{ operation = "carrier.track", connection = "ups" },',
     "plans[0].shipment_steps[3]", "There is no connection ups."),
    ('connection = "erp", needs = ["payment.capture", "erp.ship"]', 'connection = "erp", needs = ["payment.capture"]',
     "plans[2].shipment_steps[3]", 'needs = ["payment.capture", "erp.ship"]'),
    ('connection = "@warehouse", each = "warehouse"', 'connection = "@warehouse"', "plans[0].steps[3]", "whole order"),
    ('on_refused = { "channel.acknowledge"', 'on_refused = { "channel.greet"', "plans[0].on_refused", "channel.greet"),
    ("failures_to_open = 5", "failures_to_open = 0", "breaker.failures_to_open", ""),
    ("calls_per_second = 20", "calls_per_second = 0", "connections.bazaar.calls_per_second", "more than zero"),
    ('{ env = "CROSSDOCK_TAX_KEY" }', '"k-123"', "connections.tax.settings.key", "must not stand"),
    ('{ env = "CROSSDOCK_TAX_KEY" }', '{ env = "NOT_SET" }', "connections.tax.settings.key", "NOT_SET is not set"),
    ("[availability]", "[availabilities]", "availabilities", "There is no section availabilities."),
    ('[[locations]]\ncode = "BHX"', '[[locations]]\ncode = "HAM"', "locations[1].code", "there twice"),
    ('location = "HAM"', 'location = "LEJ"', "stock.owners[0].location", "There is no location LEJ."),
    ('connection = "erp"\ncontains', 'connection = "sap"\ncontains', "stock.owners[0].connection", "no connection sap"),
    ('contains = "departures"\ntold_by = "erp.ship"', 'contains = "orders"\n', "stock.owners[0].told_by", "is told of"),
    ('location = "BHX"', 'location = "HAM"\n', "stock.owners[1].since", "two owners"),
    ('treatment = "taxed"', 'treatment = "untaxed"', "tax.rules[1].treatment", "taxed, reverse_charge, exempt, export"),
    ('name = "place-of-delivery"', 'name = "union-business"', "tax.rules[1].name", "there twice"),
    ('name = "place-of-delivery"', 'name = " "', "tax.rules[1].name", "has no name"),
    ("'region in [\"EU\", \"UK\"]'", "'regions == \"EU\"'", "tax.rules[1].when", "names regions"),
    ("when = 'order_type == \"business\" && region", "\n# when = 'order_type == \"business\" && region",
     "tax.rules[0]", "never reached"),
    ('unruled = "hold"', 'unruled = "accept"', "tax.unruled", "hold, refuse"),
    ("clock_skew_seconds = 1", "clock_skew_seconds = -1", "stock.owners[0].clock_skew_seconds", "zero or more"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "path", "said"), MISTAKES, ids=[row[2] + " " + row[3] for row in MISTAKES])
def test_a_mistake_is_told_with_its_line(tmp_path: Path, right: str, wrong: str, path: str, said: str) -> None:
    assert right in TEXT
    text = TEXT.replace(right, wrong, 1)
    found = [problem for problem in problems_of(tmp_path, text) if problem.path == path]
    assert found, problems_of(tmp_path, text)
    assert said in f"{found[0].message} {found[0].next_action}"
    assert found[0].next_action or not said
    if wrong and "\n" not in wrong and path != "plans[0].steps[3]":
        assert found[0].line == line_of(TEXT, right)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = TEXT
    for right, wrong, _, _ in (MISTAKES[0], MISTAKES[1], MISTAKES[7], MISTAKES[10], MISTAKES[21]):
        text = text.replace(right, wrong, 1)
    found = problems_of(tmp_path, text)
    assert len(found) == 5
    assert [problem.line for problem in found] == sorted(problem.line for problem in found)
    assert str(found[0]).startswith("crossdock.toml:")


def test_the_consoles_address_says_whether_it_is_secure(tmp_path: Path) -> None:
    assert not load(tmp_path, TEXT).console.secure
    assert load(tmp_path, TEXT + '[console]\npublic_url = "https://crossdock.example.com:8443"\n').console.secure
    assert not load(tmp_path, TEXT + '[console]\npublic_url = "http://127.0.0.1:8700"\n').console.secure
    for wrong in ("crossdock.example.com", "https://", "https://a.example/console", "ftp://a.example", "https://a:b"):
        (problem,) = problems_of(tmp_path, TEXT + f'[console]\npublic_url = "{wrong}"\n')
        assert problem.path == "console.public_url", wrong


def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path, TEXT.replace('GB = "UK"', "GB = UK", 1))
    assert found.line == line_of(TEXT, 'GB = "UK"')
    assert "no TOML" in found.message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationErrors, match="cannot be read"):
        load_configuration(tmp_path / "none.toml", {})


def test_an_empty_file_misses_every_section(tmp_path: Path) -> None:
    missing = {problem.path for problem in problems_of(tmp_path, "")}
    assert missing == {"cell", "regions", "locations", "sourcing", "channels", "connections", "plans"}


def with_secret_file(text: str) -> str:
    return text.replace('{ env = "CROSSDOCK_TAX_KEY" }', '{ file = "secrets.toml", key = "tax.key" }')


def test_secrets_come_from_a_private_file(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.toml"
    secrets.write_text('[tax]\nkey = "k-1"\n', encoding="utf-8")
    secrets.chmod(0o600)
    assert load(tmp_path, with_secret_file(TEXT)).connections["tax"].settings["key"] == "k-1"


@pytest.mark.parametrize(("content", "mode", "said"), [
    ('[tax]\nkey = "k-1"\n', 0o644, "can be read by others"),
    ('[tax]\nother = "k-1"\n', 0o600, "has no text tax.key"),
    ("k-1 is my secret\n", 0o600, "is not TOML"),
    (None, 0o600, "cannot be read"),
])  # fmt: skip
def test_secret_files_that_cannot_be_used(tmp_path: Path, content: str | None, mode: int, said: str) -> None:
    secrets = tmp_path / "secrets.toml"
    if content is not None:
        secrets.write_text(content, encoding="utf-8")
        secrets.chmod(mode)
    found = problems_of(tmp_path, with_secret_file(TEXT))
    assert any(said in problem.message for problem in found)
    assert all("k-1" not in str(problem) for problem in found)
