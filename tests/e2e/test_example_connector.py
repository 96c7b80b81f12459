"""A connector of a third party: installed as a package, found, configured, and proven by the conformance suite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "acme"


def run(*arguments: str, packages: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")}
    return subprocess.run(
        [sys.executable, *arguments], check=False, capture_output=True, text=True, cwd=packages.parent, timeout=240,
        env={**clean, "PYTHONPATH": str(packages), "CROSSDOCK_HOME": str(packages.parent / "home"), **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is installed as its README says, but into a folder of its own."""
    folder = tmp_path_factory.mktemp("third party") / "packages"
    folder.mkdir()
    source = folder.parent / "source"
    for path in (EXAMPLE / "pyproject.toml", *EXAMPLE.glob("acme_crossdock/*.py")):
        copy = source / path.relative_to(EXAMPLE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    ran = run(
        "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder), str(source),
        packages=folder,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return folder


def test_it_is_proven_by_the_conformance_suite(packages: Path) -> None:
    ran = run(
        "-m", "pytest", "-c", str(EXAMPLE / "pyproject.toml"), "--rootdir", str(packages.parent), "-p",
        "no:cacheprovider", "--basetemp", str(packages.parent / "base"), str(EXAMPLE / "tests"), packages=packages,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout


def test_a_connection_of_its_kind_can_be_configured(packages: Path) -> None:
    configuration = (ROOT / "crossdock.toml").read_text("utf-8")
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    configuration += """
[connections.acme]
system = "acme"
settings = { url = { env = "ACME_URL" }, key = { env = "ACME_KEY" } }
webhook_secrets = [{ env = "ACME_WEBHOOK_SECRET" }]
"""
    path = packages.parent / "crossdock.toml"
    path.write_text(configuration, "utf-8")
    given = {"ACME_URL": "https://acme.example", "ACME_KEY": "k", "ACME_WEBHOOK_SECRET": secret}
    check = ("-m", "crossdock.cli.main", "config", "check", str(path))
    good = run(*check, packages=packages, **given)
    assert good.returncode == 0, good.stderr
    without = run(*check, packages=packages.parent / "nothing", **given)
    assert without.returncode == 3
    assert "There is no connector for the system 'acme'." in without.stderr + without.stdout
