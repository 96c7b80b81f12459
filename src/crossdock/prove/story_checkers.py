"""Checkers of what an order's events tell, one after the other: nothing is told before what led to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crossdock.prove.history import Found, History

BEGINNINGS: Final = ("OrderAccepted", "OrderHeld")
AFTER_THE_END: Final = ("PaymentReported", "DeliveryReported", "CancellationRequested")
"""What may still be told of an order that is completed; its steps and shipments are over."""


def causes_are_told_first(history: History) -> Found:
    """An order's events begin with the order, have a step after the steps and the shipment that it needed, and end with
    its completion."""
    events: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for event in history.tables["events"]:
        events[event["order_id"]].append(event)
    needs: dict[int, dict[str, Sequence[str]]] = defaultdict(dict)
    for step in history.tables["steps"]:
        needs[step["order_id"]][step["name"]] = step["needs"]
    for order in history.tables["orders"]:
        for message in _find_early(events[order["order_id"]], needs[order["order_id"]]):
            yield order["number"], message


def _find_early(events: Sequence[Mapping[str, Any]], needs: Mapping[str, Sequence[str]]) -> list[str]:
    found = []
    if events and events[0]["type"] not in BEGINNINGS:
        found.append(f"begins with {events[0]['type']}")
    places = {event["body"].get("step"): place for place, event in enumerate(events)}
    left = {
        event["body"]["shipment"]: place for place, event in enumerate(events) if event["type"] == "ShipmentConfirmed"
    }
    completed = next((place for place, event in enumerate(events) if event["type"] == "OrderCompleted"), len(events))
    for place, event in enumerate(events):
        step = event["body"].get("step", "")
        early = [need for need in needs.get(step, ()) if places.get(need, -1) > place]
        shipment = step.partition(":")[2]
        if left.get(shipment, -1) > place:
            early.append(shipment)
        if early:
            found.append(f"tells {event['type']} of {step} before {', '.join(early)}")
        if place > completed and event["type"] not in AFTER_THE_END:
            found.append(f"tells {event['type']} after it was completed")
    return found
