"""`make sbom` writes down everything that is installed to run Crossdock, each with its hashes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_pinned_requirement_is_in_the_bill_of_materials(tmp_path: Path) -> None:
    commands = subprocess.run(
        ["make", "--dry-run", "sbom"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    written = "sbom/crossdock.cdx.json"
    typed = re.search(rf"\S+ -W ignore -m cyclonedx_py.*?{written}", commands, re.DOTALL)
    assert typed is not None, commands
    words = typed.group().replace("\\\n", " ").replace(written, str(tmp_path / "bill.json")).split()
    subprocess.run(words, cwd=ROOT, check=True, timeout=200)
    found = json.loads((tmp_path / "bill.json").read_text("utf-8"))
    lock = (ROOT / "requirements/runtime.txt").read_text("utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE))
    assert {part["name"]: part["version"] for part in found["components"]} == pinned
    for part in found["components"]:
        assert [one for link in part["externalReferences"] for one in link.get("hashes", ())], part["name"]
