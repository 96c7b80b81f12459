"""A command finds what runs in its home, on whatever port; what has ended, or another's number, tells nothing."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from crossdock.cli.home import PORT_DEFAULT, Home, RunState, find_home, write_private

NOBODY = 2**22 + 1  # beyond the largest process number


@pytest.mark.parametrize(
    ("supervisor", "given", "port"),
    [(os.getpid(), "", 9700), (os.getpid(), "9800", 9800), (NOBODY, "", PORT_DEFAULT), (0, "", PORT_DEFAULT)],
    # Named: processes that share the tests must find the same ones.
    ids=["running", "given", "dead", "never"],
)
def test_the_port_is_the_given_one_or_the_running_one(tmp_path: Path, supervisor: int, given: str, port: int) -> None:
    if supervisor:
        state = RunState(supervisor, "2026-05-04T09:30:00Z", True, {}, 9700)
        write_private(Home(tmp_path).state, msgspec.json.encode(state))
    assert find_home({"CROSSDOCK_HOME": str(tmp_path), "CROSSDOCK_PORT": given}).port == port


def test_a_state_without_a_port_is_of_an_earlier_release(tmp_path: Path) -> None:
    text = f'{{"supervisor":{os.getpid()},"started_at":"","ready":true,"processes":{{}}}}'
    write_private(Home(tmp_path).state, text.encode())
    assert find_home({"CROSSDOCK_HOME": str(tmp_path)}).port == PORT_DEFAULT
