"""`crossdock config check`: every problem of the configuration at once, with place and what to do."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import click

from crossdock.app import check_configuration, find_connectors
from crossdock.cli.demo import configuration_environment
from crossdock.cli.exits import CONFIGURATION, HELP
from crossdock.cli.home import Home, find_home
from crossdock.cli.output import find_configuration, guarded, say, show_json
from crossdock.policy.configuration import load_configuration
from crossdock.policy.lines import find_line, locate_keys
from crossdock.policy.problems import ConfigurationErrors


def _environment(home: Home, path: Path) -> dict[str, str]:
    environment = dict(os.environ)
    try:
        is_demo = tomllib.loads(path.read_text(encoding="utf-8"))["cell"]["environment"] == "demo"
    except (OSError, ValueError, KeyError, TypeError):
        return environment
    # The demonstration's secrets are generated at its first start: before it, only that they are named counts.
    return configuration_environment(home, path, environment, rehearsed=True) if is_demo else environment


@click.group(epilog=HELP)
def config() -> None:
    """Check the configuration."""


@config.command()
@click.argument("file", default="")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")
def check(file: str, as_json: bool) -> None:
    """Read FILE (default ./crossdock.toml) and report all that is wrong with it, with line and what to do."""
    path = find_configuration(file)
    home = guarded(lambda: find_home(dict(os.environ)))
    problems: list[dict[str, object]] = []
    try:
        loaded = load_configuration(path, _environment(home, path))
    except ConfigurationErrors as errors:
        problems = [
            {"file": problem.file, "line": problem.line, "path": problem.path, "message": problem.message,
             "next_action": problem.next_action}
            for problem in errors.problems
        ]  # fmt: skip
    else:
        lines = locate_keys(path.read_text(encoding="utf-8"))
        for found in check_configuration(loaded, find_connectors()):
            problems.append(
                {"file": path.name, "line": find_line(lines, found.field), "path": found.field,
                 "message": found.message, "next_action": found.next_action}
            )  # fmt: skip
    if as_json:
        show_json({"file": str(path), "ok": not problems, "problems": problems})
    else:
        for problem in problems:
            place = f"{problem['file']}:{problem['line']}" if problem["line"] else str(problem["file"])
            say(f"{place}: {problem['path']}: {problem['message']}")
            say(f"  what to do: {problem['next_action']}")
        say(f"{path}: {len(problems)} problem(s)" if problems else f"{path} is fine")
    sys.exit(CONFIGURATION if problems else 0)
