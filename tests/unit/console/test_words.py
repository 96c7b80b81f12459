"""The console's sentences agree with their numbers, and times, causes and titles read as people say them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crossdock.console.words import counted, entry_title, hold_title, milliseconds, sentence_case, since

NOW = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(("count", "text"), [(0, "0 facts"), (1, "1 fact"), (2, "2 facts"), (2000, "2,000 facts")])
def test_what_is_counted_agrees_with_its_number(count: int, text: str) -> None:
    assert counted(count, "fact") == text


@pytest.mark.parametrize(
    ("cause", "title"),
    [
        ("credit", "Over the credit limit"), ("price", "Price beyond tolerance"),
        ("refused:erp.place_order", "Refused: Place order in ERP"), ("some_other", "Some other"), ("", ""),
    ],
)  # fmt: skip
def test_a_cause_is_a_title(cause: str, title: str) -> None:
    assert hold_title(cause) == title


def test_since_is_a_time_and_names_the_day_where_it_is_another() -> None:
    assert since(NOW - timedelta(minutes=2), NOW) == "09:28"
    assert since(NOW - timedelta(hours=12), NOW) == "3 May 21:30"


def test_abbreviations_stay_upper_case() -> None:
    assert entry_title("event", "ErpOrderPlaced") == "ERP order placed"
    assert sentence_case("sku_unknown") == "SKU unknown"


@pytest.mark.parametrize(
    ("value", "text"), [(437, "437 ms"), (3812, "3.8 s"), (6576, "6.5 s"), (58_000, "58 s"), (196_000, "3 min 16 s")]
)
def test_seconds_were_written_as_thousands_of_milliseconds(value: int, text: str) -> None:
    assert milliseconds(value) == text
