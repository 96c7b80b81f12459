"""The published schemas change only on purpose: run with CROSSDOCK_GOLDEN=write, then read the difference."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from crossdock.model.facts import FACT_BODIES
from crossdock.model.schemas import DIALECT, DOCUMENTS, make_fact_schemas, make_schema
from tests.unit.rules.making import decide, make_order

GOLDEN = Path(__file__).parents[2] / "golden" / "schemas"


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_schemas_are_the_published_ones(name: str) -> None:
    written = json.dumps(make_schema(name), indent=2) + "\n"
    golden = GOLDEN / f"{name}.json"
    if os.environ.get("CROSSDOCK_GOLDEN") == "write":
        golden.write_text(written, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == written


def test_no_schema_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(DOCUMENTS)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_schemas_are_valid_themselves(name: str) -> None:
    schema = make_schema(name)
    assert schema["$schema"] == DIALECT
    Draft202012Validator.check_schema(schema)


def test_every_kind_of_fact_has_a_schema() -> None:
    assert set(make_fact_schemas()) == set(FACT_BODIES)


def test_what_we_write_is_what_the_schemas_say() -> None:
    placed = make_order("BOLT 6 XBX @ 18.00, CABLE 900 MTR")
    for held_or_not in (placed, make_order("BOLT 100 C62", payment="card"), make_order("NIX 1 C62")):
        found = decide(held_or_not)
        for document in (held_or_not, found.order, found.progress, found.acknowledgment):
            if document is not None:
                schema = make_schema(type(document).__name__)
                Draft202012Validator(schema).validate(msgspec.json.decode(msgspec.json.encode(document)))
