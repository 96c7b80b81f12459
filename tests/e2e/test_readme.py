"""What the documents show is so: the README's commands run, links lead somewhere, exit codes are the code's."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crossdock.cli import exits
from tests.integration.api.api_world import SECRET, Api, open_api

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = ".venv/bin/crossdock "


def commands() -> list[str]:
    """Every line of the README after a prompt."""
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def crossdock(arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")}
    return subprocess.run(
        [sys.executable, "-m", "crossdock.cli.main", *arguments.split()], check=False, capture_output=True, text=True,
        cwd=ROOT, env={**clean, **environment}, timeout=60,
    )  # fmt: skip


def test_every_command_of_the_readme_is_looked_at_here() -> None:
    known = ("make ", COMMAND, "CLIENT=", "TOKEN=", "curl ")
    assert len(commands()) > 8
    assert [command for command in commands() if not command.startswith(known)] == []


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("make ")])
def test_the_make_targets_are_there(command: str) -> None:
    ran = subprocess.run(
        ["make", "--dry-run", *command.split()[1:]], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith(COMMAND)])
def test_the_commands_run_on_a_ledger(command: str, tmp_path: Path, database_url: str) -> None:
    ran = crossdock(
        command.removeprefix(COMMAND), CROSSDOCK_HOME=str(tmp_path), CROSSDOCK_PORT="61000",
        CROSSDOCK_DATABASE_URL=database_url,
    )  # fmt: skip
    # Nothing runs on this ledger, which `status` rightly calls not healthy.
    assert ran.returncode == (exits.NOT_HEALTHY if "status" in command else exits.OK), ran.stderr


def test_the_configuration_is_fine(tmp_path: Path) -> None:
    assert crossdock("config check", CROSSDOCK_HOME=str(tmp_path)).returncode == exits.OK


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs bash and curl")
async def test_the_calls_with_a_token_are_answered(tmp_path: Path, database_url: str) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".crossdock").mkdir()
    clients = {"operator": {"client_id": "operator-1", "client_secret": SECRET}}
    (tmp_path / ".crossdock" / "demo.json").write_text(json.dumps({"clients": clients}), encoding="utf-8")
    async with open_api(database_url) as api:
        assert await _say(api, tmp_path) == ["items", "items"]


async def _say(api: Api, folder: Path) -> list[str]:
    """Type the README's calls in `folder`; which list each answer of a curl holds."""
    typed = [command for command in commands() if command.startswith(("CLIENT=", "TOKEN=", "curl "))]
    # One line an answer.
    script = "\n".join(f"{command}; echo" if command.startswith("curl ") else command for command in typed)
    process = await _bash(script.replace("http://127.0.0.1:8700", api.url), folder)
    answers = [json.loads(line) for line in process.splitlines() if line]
    return ["items" if "items" in answer else str(answer) for answer in answers]


async def _bash(script: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return output.decode()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_the_exit_codes_are_the_codes() -> None:
    said = dict(re.findall(r"^  (\d)  (.+)$", exits.HELP, re.MULTILINE))
    told = dict(re.findall(r"^\| (\d) \| (.+) \|$", (ROOT / "docs" / "operations.md").read_text("utf-8"), re.MULTILINE))
    assert {code: text.replace("`", "") for code, text in told.items()} == {
        code: text.replace("`", "") for code, text in said.items()
    }
