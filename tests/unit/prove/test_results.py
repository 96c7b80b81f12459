"""Results are kept line by line, and the next run goes on after them."""

from __future__ import annotations

from pathlib import Path

from crossdock.prove.verdict import Verdict, append_verdict, count_facts, next_seed


def test_a_long_proof_goes_on_after_its_last_seed(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    assert next_seed(results, "order-path", 1) == 1
    append_verdict(results, Verdict("order-path", 1, 500, 9, {}, {}, (), 1.0, 2.0, "pass"))
    append_verdict(results, Verdict("erp-outage", 1, 20, 9, {}, {}, (), 1.0, 2.0, "pass"))
    assert next_seed(results, "order-path", 1) == 501
    assert next_seed(results, "erp-outage", 1) == 21
    assert next_seed(results, "erp-outage", 300) == 300


def test_runs_of_another_size_and_from_another_seed_are_runs_of_their_own(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    append_verdict(results, Verdict("order-path", 1, 500, 9, {}, {}, (), 1.0, 2.0, "pass"))
    append_verdict(results, Verdict("order-path", 1, 40, 700, {}, {}, (), 1.0, 2.0, "pass", 60))
    append_verdict(results, Verdict("order-path", 9000, 10, 80, {}, {}, (), 1.0, 2.0, "pass", 60))
    append_verdict(results, Verdict("order-path", 41, 2, 30, {}, {}, (), 1.0, 2.0, "pass", 60))
    assert next_seed(results, "order-path", 1, 60) == 43
    assert next_seed(results, "order-path", 9000, 60) == 9010
    assert next_seed(results, "order-path", 1) == 501
    assert count_facts(results, "order-path", 60) == 810
    assert count_facts(results, "order-path") == 9
