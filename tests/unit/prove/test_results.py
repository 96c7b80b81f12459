"""Results are kept line by line, and the next run goes on after them."""

from __future__ import annotations

from pathlib import Path

from crossdock.prove.verdict import Verdict, append_verdict, next_seed


def test_a_long_proof_goes_on_after_its_last_seed(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    assert next_seed(results, "order-path", 1) == 1
    append_verdict(results, Verdict("order-path", 1, 500, 9, {}, {}, (), 1.0, 2.0, "pass"))
    append_verdict(results, Verdict("erp-outage", 1, 20, 9, {}, {}, (), 1.0, 2.0, "pass"))
    assert next_seed(results, "order-path", 1) == 501
    assert next_seed(results, "erp-outage", 1) == 21
    assert next_seed(results, "erp-outage", 300) == 300
