"""The sandbox partners, started once for all conformance tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.conformance.partners import RunningPartner, start_partner

KINDS = ("shop", "bazaar", "agora", "portal", "wms", "tax", "payment", "carrier")


@pytest.fixture(scope="session")
def partners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, RunningPartner]]:
    home = tmp_path_factory.mktemp("partners")
    running: dict[str, RunningPartner] = {}
    try:
        for kind in KINDS:
            options = ("--no-waves",) if kind == "wms" else ()
            running[kind] = start_partner(kind, home, *options)
        yield running
    finally:
        for partner in running.values():
            partner.stop()
