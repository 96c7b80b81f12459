"""One home for all tests that bring up the whole demonstration: its ERP takes a minute to be made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.test_run import free_ports


@pytest.fixture(scope="session")
def demonstration_place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The home and the first of its twelve ports. CROSSDOCK_PROOF_HOME names one to go on with."""
    kept = os.environ.get("CROSSDOCK_PROOF_HOME", "")
    if kept:
        return Path(kept), free_ports()
    home = tmp_path_factory.mktemp("demonstration") / "home"
    home.mkdir(mode=0o700)
    environment = os.environ.get("CROSSDOCK_TEST_TRYTON_VENV", "")
    if environment:
        # The ERP's programs are there already: only its database is made anew.
        (home / "tryton-venv").symlink_to(Path(environment).resolve())
    return home, free_ports()
