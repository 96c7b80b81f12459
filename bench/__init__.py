"""Measures of speed and size: `python -m bench` writes `bench/results/latest.jsonl`."""
