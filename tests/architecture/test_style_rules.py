"""The style rules themselves, on planted violations and on their nearest innocent neighbours."""

from __future__ import annotations

import pytest

from tests.architecture.style_rules import LINES_MAX, check_migrations, check_source, check_text

INNOCENT = "src/crossdock/engine/runner.py"

GUILTY = {
    "short-files": (INNOCENT, "x = 1\n" * (LINES_MAX + 1)),
    "telling-modules": ("src/crossdock/engine/utils.py", "x = 1\n"),
    "telling-modules in a longer name": ("src/crossdock/engine/step_manager.py", "x = 1\n"),
    "telling-modules in a package": ("src/crossdock/helpers/steps.py", "x = 1\n"),
    "telling-names of functions": (INNOCENT, "def handle_order() -> None: ...\n"),
    "telling-names of private functions": (INNOCENT, "async def _process_order() -> None: ...\n"),
    "telling-names of methods": (INNOCENT, "class Order:\n    def update_state(self) -> None: ...\n"),
    "telling-names of classes": (INNOCENT, "class StepManager: ...\n"),
    "decimal-only in annotations": ("src/crossdock/model/values.py", "amount: float\n"),
    "decimal-only in literals": ("src/crossdock/rules/price.py", "RATE = 0.2\n"),
    "imports-on-top": (INNOCENT, "def run() -> None:\n    import json\n"),
    "imports-on-top in a method": (INNOCENT, "class A:\n    async def run(self):\n        from json import loads\n"),
    "statements-in-files": (INNOCENT, "QUERY = 'SELECT 1'\n"),
    "statements-in-files over lines": (INNOCENT, "QUERY = '''\n  insert into step (id) values ($1)'''\n"),
    "statements-in-files with a common table": (INNOCENT, "QUERY = 'WITH due AS (TABLE step) DELETE FROM due'\n"),
    "statements-in-files made from pieces": (INNOCENT, "def read(t):\n    return f'SELECT id FROM {t}'\n"),
    "statements-in-files that define": (INNOCENT, "def drop(t):\n    return f'DROP DATABASE {t}'\n"),
    "constant-time": (INNOCENT, "def check(a, signature):\n    return a == signature\n"),
    "constant-time by attribute": (INNOCENT, "def check(a, client):\n    return client.secret != a\n"),
    "constant-time by header": (INNOCENT, "def check(a, headers):\n    return headers['Webhook-Signature'] == a\n"),
}

CLEAN = {
    "a plain module": (INNOCENT, "import json\n\n\ndef place_order() -> str:\n    return json.dumps({})\n"),
    "float outside the model": (INNOCENT, "delay_seconds: float = 0.5\n"),
    "float as a span of time": ("src/crossdock/model/errors.py", "def wait(retry_seconds: float) -> None: ...\n"),
    "a docstring about SQL": (INNOCENT, "'''SELECT is what this module never writes.'''\n"),
    "prose that begins like SQL": (INNOCENT, "TEXT = 'Select a warehouse'.upper()\nOTHER = 'Update available'\n"),
    "a secret that is absent": (INNOCENT, "def check(secret):\n    return secret is None or secret == ''\n"),
    "a name that contains a forbidden word": (INNOCENT, "def dose() -> None: ...\ndef processed_at() -> None: ...\n"),
    "imports only for types": (INNOCENT, "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json\n"),
}


@pytest.mark.parametrize("name", GUILTY)
def test_a_planted_violation_is_found(name: str) -> None:
    path, text = GUILTY[name]
    assert {violation.rule for violation in check_source(path, text)} == {name.split(" ", maxsplit=1)[0]}


@pytest.mark.parametrize("name", CLEAN)
def test_innocent_code_is_left_alone(name: str) -> None:
    path, text = CLEAN[name]
    assert check_source(path, text) == []


def test_a_registry_host_is_found_in_any_file() -> None:
    line = "--index-url https://" + "pypi" + ".org/simple\n"
    assert [violation.line for violation in check_text("requirements/x.txt", "\n" + line)] == [2]


@pytest.mark.parametrize("folder", ["work", "root", "tmp"])
def test_a_path_of_one_machine_is_found(folder: str) -> None:
    assert check_text("docs/x.md", f"see /{folder}/main")
    assert check_text("src/x.py", f'"/{folder}/x"')


def test_a_url_or_a_relative_path_is_no_machine_path() -> None:
    folder = "work"
    harmless = f"docs/{folder}/plan.md, https://example.com/{folder}/plan, {{home}}/{folder}/x, ./tmp/x"
    assert check_text("docs/x.md", harmless) == []


@pytest.mark.parametrize(
    ("names", "right"),
    [
        (["0001_ledger.sql", "0002_holds.sql"], True),
        (["0001_ledger.sql", "0003_holds.sql"], False),
        (["0001_ledger.sql", "0001_holds.sql"], False),
        (["1_ledger.sql"], False),
        (["0002_ledger.sql"], False),
    ],
)
def test_migrations_are_numbered_without_gaps(names: list[str], right: bool) -> None:
    assert (check_migrations(names) == []) is right
