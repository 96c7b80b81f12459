"""Agora's stock: one call for each item, several at once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from crossdock.connectors.agora import stock
from crossdock.model.errors import Unavailable
from crossdock.model.stock import StockFigure


class Busy:
    """A marketplace of which one call is lost and the next is asked to wait."""

    def __init__(self) -> None:
        lost, busy = Unavailable("connection_lost", "Lost."), Unavailable("too_many", "Later.", retry_after_seconds=8)
        self.answers = [lost, busy]

    async def request(self, *_: Any, **__: Any) -> None:
        await asyncio.sleep(0)
        raise self.answers.pop(0)


async def test_a_wait_that_one_of_several_calls_was_asked_for_is_not_lost() -> None:
    """It was called again within its wait: of two failed calls the first was told of, and that one named no wait."""
    figures = [StockFigure(sku, "C62", Decimal(1), 1) for sku in ("A", "B")]
    busy: Any = Busy()
    with pytest.raises(Unavailable) as caught:
        await stock.publish(busy, figures)
    assert caught.value.retry_after_seconds == 8
