"""Orders through real processes while nemeses break all of it. The long form is a command, see docs/proof.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crossdock.prove.nemeses.diary import MENDED
from crossdock.prove.order_path_real import NEMESES, RealRun, run_order_path
from crossdock.prove.real_report import write_report

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(900)]
SEED = int(os.environ.get("CROSSDOCK_PROOF_SEED", "1"))
ORDERS = int(os.environ.get("CROSSDOCK_PROOF_ORDERS", "12"))
SECONDS = float(os.environ.get("CROSSDOCK_PROOF_SECONDS", "12"))


async def test_whatever_breaks_each_order_has_each_effect_once(tmp_path: Path) -> None:
    outcome = await run_order_path(RealRun(SEED, ORDERS, SECONDS, settle_seconds=600), tmp_path)
    assert not outcome.violations
    assert outcome.verdict == "pass"
    assert outcome.orders
    struck = {deed.nemesis for deed in outcome.deeds if deed.what != MENDED}
    assert struck | set(outcome.skipped) == set(NEMESES)
    assert {path.stem for path in (tmp_path / "nemeses").iterdir()} == struck
    page = write_report([outcome])
    assert "What the nemeses did" in page
    assert all(name in page for name in struck)
