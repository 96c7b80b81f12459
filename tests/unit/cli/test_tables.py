"""What the command prints can be copied: no number is cut or folded, without a terminal and in a narrow one too."""

from __future__ import annotations

import pytest

from crossdock.cli.output import show_table

COLUMNS = ("number", "channel", "its number", "says", "count")
LONG = "There is no product XX-1350, nor was there ever one in any of the catalogues."
ROWS = [("CD00000013", "bazaar", "BZ-7000004", LONG, 5), ("CD00000014", "shop", None, "", 12)]


def test_without_a_terminal_rows_are_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Orders", COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "Orders", "  NUMBER      CHANNEL  ITS NUMBER  COUNT", "  CD00000013  bazaar   BZ-7000004  5",
        f"      says: {LONG}", "  CD00000014  shop                 12",
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_in_a_terminal_of_any_width_no_number_is_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    show_table("Orders", COLUMNS, ROWS)
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("CD00000013", "BZ-7000004", LONG))
    assert ("\u2501" in shown) == (columns == 200)


def test_what_comes_from_outside_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Orders", ("number",), [("\x1b[31mred[bold]",)])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[bold]" in shown


def test_nothing_is_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Orders", COLUMNS, [])
    assert capsys.readouterr().out == "Orders: none\n"
