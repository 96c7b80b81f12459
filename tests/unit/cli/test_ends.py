"""How a command ends when something went wrong: each with its own code and a sentence, a defect of ours too."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from crossdock.cli.output import finish
from crossdock.model.errors import Conflict, Invalid, Misconfigured, Unavailable

ENDS: tuple[tuple[Callable[[], BaseException], int, str], ...] = (
    (lambda: Invalid("sku_unknown", "There is no product BOLT."), 2, "There is no product BOLT."),
    (lambda: Misconfigured("port_form", "That is no port."), 3, "That is no port."),
    (lambda: Unavailable("down", "The partner does not answer."), 4, "does not answer"),
    (ConnectionRefusedError, 4, "The database does not answer"),
    (lambda: Conflict("moved", "The order has moved on."), 5, "The order has moved on."),
    (lambda: KeyError("shop"), 6, "This is a defect of Crossdock"),
    (lambda: ExceptionGroup("tasks", [ValueError("bad")]), 6, "This is a defect of Crossdock"),
)


@pytest.mark.parametrize(("make", "code", "said"), ENDS)
def test_each_end_has_its_code(
    make: Callable[[], BaseException], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        raise make()

    with pytest.raises(SystemExit) as ended:
        finish(work())
    assert ended.value.code == code
    assert said in capsys.readouterr().err


def test_what_click_says_is_left_to_click() -> None:
    async def work() -> None:
        raise click.UsageError("Name one.")

    with pytest.raises(click.UsageError, match="Name one"):
        finish(work())
