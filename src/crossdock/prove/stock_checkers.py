"""What must be true where channels are told stock: small pure functions from a history to violations.

They go by the channels' own logs and the warehouse's own stock; of our tables they read only what we say that we found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from crossdock.prove.history import Found
from crossdock.prove.partners import TIMEOUT_SECONDS
from crossdock.prove.stock_history import Knock, StockHistory, Telling, Written
from crossdock.prove.virtual_time import EPOCH

MENDED_SECONDS: Final = 45.0
"""An older figure on a shelf is covered by a newer one within this time, where our side can know of it."""
FOUND_SECONDS: Final = 130.0
"""What a channel did by itself is found by reading back: the channel's own orders explain it for a minute, a suspicion
is looked at twice, thirty seconds apart, and a lane may be at rest."""
REACHED_SECONDS: Final = 45.0
"""So long a channel that is up may show more than there is: a worker dies, another takes over, calls fail and wait."""
HANDED_OVER_SECONDS: Final = 5.0
"""Who still calls is alive: another takes his lane six seconds after his last sign of life at the earliest."""
RETURN_SECONDS: Final = 3.0
TIMES_MAX: Final = 3
APART_SECONDS: Final = 0.4
"""Clocks may be apart by so much while they follow the database's."""


def shelves_show_what_there_is(history: StockHistory) -> Found:
    """At rest every channel shows of every SKU what its terms make of what the warehouse has."""
    for channel, goods in history.allowed.items():
        for sku, may in goods.items():
            shown = history.shelves[channel][sku]
            if shown != may:
                yield f"{channel} {sku}", f"shows {shown} in the end, it should be {may}"


def nothing_older_stays_on_top(history: StockHistory) -> Found:
    """A figure comes to lie over one that was counted later only where the wire or the channel itself held it up, and
    then it is soon covered."""
    for (channel, sku), writes in _by_shelf(history).items():
        told = [one for one in writes if one.by == "seller" and not one.dropped]
        newest = 0
        for place, one in enumerate(told):
            if one.version >= newest:
                newest = one.version
                continue
            travelled = one.at_seconds - one.asked_at_seconds
            if travelled < 1 and not one.again:
                yield f"{channel} {sku}", f"was told version {one.version} after {newest} at {one.at_seconds}"
                continue
            by_itself = one.again or history.tellings[channel].manner == "feeds"
            bound = FOUND_SECONDS if by_itself else MENDED_SECONDS
            later = next((other for other in told[place + 1 :] if other.version > newest), None)
            # A rival or a buyer who comes then makes it another matter.
            disturbed = any(one.at_seconds <= other.at_seconds <= one.at_seconds + bound for other in writes
                            if other.by == "rival")  # fmt: skip
            until = (later.at_seconds if later else history.virtual_seconds)
            until -= _away(history, channel, one.at_seconds, until)
            if until - one.at_seconds > bound and not disturbed and _differs(one, told, newest):
                yield f"{channel} {sku}", f"was left with version {one.version} over {newest} from {one.at_seconds} on"


def a_channel_that_was_away_gets_the_present(history: StockHistory) -> Found:
    """When it comes back it is told each SKU once or a few times, not its history."""
    for channel, _, back in history.outages:
        times: dict[str, int] = defaultdict(int)
        for one in history.written:
            if one.channel == channel and one.by == "seller" and back <= one.at_seconds < back + RETURN_SECONDS:
                times[one.sku] += not one.again
        for sku, count in times.items():
            if count > TIMES_MAX:
                yield f"{channel} {sku}", f"was told {count} times within {RETURN_SECONDS} s of its return at {back}"


def limits_are_kept(history: StockHistory) -> Found:
    """Calls in a time, figures in a call, and the waits that were asked for: judged at the channel's door."""
    for channel, telling in history.tellings.items():
        knocks = [one for one in history.knocks if one.channel == channel]
        yield from _paced(channel, telling, [one for one in knocks if one.kind == "publish"], history)
        waits_until = ended = 0.0
        for one in knocks:
            if one.kind == "publish" and one.items > telling.batch_max:
                yield channel, f"was told {one.items} figures in one call"
            # What was on its way already could not know.
            if ended <= one.asked_at_seconds < waits_until:
                yield channel, f"was asked ({one.kind}) at {one.asked_at_seconds}, not to be before {waits_until}"
            if one.waits_until_seconds is not None and one.waits_until_seconds > waits_until:
                waits_until, ended = one.waits_until_seconds, one.ended_at_seconds or 0.0


def nothing_waits_for_ever(history: StockHistory) -> Found:
    """A channel that is up shows more than there is only for a moment, unless it, or a rival, did that by itself."""
    for one in history.excesses:
        seconds = one.until_seconds - one.from_seconds
        seconds -= _away(history, one.channel, one.from_seconds - REACHED_SECONDS, one.until_seconds)
        is_own = any(
            _is_no_doing_of_ours(other) for other in history.written
            if (other.channel, other.sku) == (one.channel, one.sku)
            and one.from_seconds - 5 <= other.at_seconds <= one.until_seconds
        )
        bound = FOUND_SECONDS if is_own else REACHED_SECONDS
        if seconds > bound + history.clock_skew_seconds:
            yield (
                f"{one.channel} {one.sku}",
                f"shows {one.shown} of {one.allowed} from {one.from_seconds} to {one.until_seconds}",
            )


def differences_have_their_cause(history: StockHistory) -> Found:
    """What we wrote down as a difference at a channel was one, and for the reason that we gave."""
    shelves = _by_shelf(history)
    for row in history.tables["stock_drift"]:
        subject = f"{row['counterpart']} {row['sku']}"
        if row["state"] != "repaired":
            yield subject, f"is still {row['state']}: {row['cause']}"
        if row["side"] != "channel":
            continue
        found_at = (row["found_at"] - EPOCH).total_seconds()
        # It is dated by the moment before the channel was asked; what comes before it is over gives it its cause anew.
        ended_at = ((row["ended_at"] or row["found_at"]) - EPOCH).total_seconds()
        seen_at = max(found_at + TIMEOUT_SECONDS, ended_at)
        before = [one for one in shelves.get((row["counterpart"], row["sku"]), ()) if one.at_seconds <= seen_at]
        causes = _causes(history, row["counterpart"], before, found_at)
        if row["cause"] not in causes:
            yield subject, f"is noted as {row['cause']} at {found_at:.3f}, the channel's log says {sorted(causes)}"


def one_worker_tells_a_channel(history: StockHistory) -> Found:
    """Whoever comes to tell a channel something, nobody else did a moment before."""
    for channel in history.tellings:
        asked = [one for one in history.knocks if one.channel == channel and one.kind != "read"]
        last: dict[str, float] = {}
        for one in asked:
            others = {name: at for name, at in last.items() if name != one.worker}
            for name, at in others.items():
                # A new life of the same slot takes over at once: the old one is dead.
                is_heir = name.rpartition(".")[0] == one.worker.rpartition(".")[0]
                if one.asked_at_seconds - at < HANDED_OVER_SECONDS - history.clock_skew_seconds and not is_heir:
                    yield channel, f"was called by {name} at {at} and by {one.worker} at {one.asked_at_seconds}"
            last = {one.worker: one.asked_at_seconds}


def a_feed_is_waited_for(history: StockHistory) -> Found:
    """While a channel works on a feed whose number we have, it is sent no other."""
    cuts = [deed.at_seconds for deed in history.deeds if deed.nemesis == "cut"]
    for channel in history.tellings:
        known: Knock | None = None
        for one in history.knocks:
            if one.channel != channel or one.kind != "publish":
                continue
            is_early = known is not None and known.worker == one.worker and one.asked_at_seconds < _worked_until(known)
            # Who lost the database meanwhile may not have kept the number.
            if known is not None and is_early and not any(
                (known.ended_at_seconds or 0) - 1 <= at <= one.asked_at_seconds for at in cuts
            ):
                yield channel, f"was sent a feed at {one.asked_at_seconds}, it works until {_worked_until(known)}"
            known = one if one.worked_until_seconds is not None and not one.fault else known


def _worked_until(knock: Knock) -> float:
    return knock.worked_until_seconds or 0.0


def nothing_fails_unforeseen(history: StockHistory) -> Found:
    """No lane, planner, watch or comparison met an error that nobody had thought of."""
    for line in history.spoken:
        if line.startswith("error ") and any(name in line for name in _LOOPS):
            yield "log", line[:300]


_LOOPS: Final = ("lane_failed", "planner_failed", "stale_watch_failed", "lanes_failed", "reconcile_failed")


def _by_shelf(history: StockHistory) -> dict[tuple[str, str], list[Written]]:
    found: dict[tuple[str, str], list[Written]] = defaultdict(list)
    for one in history.written:
        found[one.channel, one.sku].append(one)
    return found


def _is_no_doing_of_ours(one: Written) -> bool:
    """A rival's, a silent drop, or a figure that the wire or the channel brought twice or late."""
    is_late = one.by == "seller" and one.at_seconds - one.asked_at_seconds > 1
    return one.by == "rival" or one.dropped or one.again or is_late


def _differs(older: Written, told: Sequence[Written], newest: int) -> bool:
    return any(one.version == newest and one.figure != older.figure for one in told)


def _away(history: StockHistory, channel: str, since: float, until: float) -> float:
    """How long of that time the channel was away."""
    return sum(
        max(min(until, back) - max(since, gone), 0.0) for name, gone, back in history.outages if name == channel
    )


def _paced(channel: str, telling: Telling, knocks: Sequence[Knock], history: StockHistory) -> Iterator[tuple[str, str]]:
    """A token bucket at the door, full at first; calls that never arrived were made all the same."""
    slack = APART_SECONDS + history.clock_skew_seconds
    tokens, at = telling.burst, 0.0
    for one in knocks:
        tokens = min(telling.burst, tokens + (one.asked_at_seconds - at) * telling.calls_per_second) - 1
        at = one.asked_at_seconds
        if tokens < -slack * telling.calls_per_second - 1e-6:
            yield channel, f"was called too often: {-tokens:.2f} calls too many at {at}"
            return


def _causes(history: StockHistory, channel: str, before: Sequence[Written], found_at: float) -> set[str]:
    """What the channel's log may be called, by what it last did by itself. A rival whose figure may be the one before,
    less what was sold, passes for a drop, and whole packs of it for another unit; so does what came twice or late."""
    own = [one for one in before if one.at_seconds > found_at - FOUND_SECONDS and _is_no_doing_of_ours(one)]
    causes: set[str] = set()
    for one in own:
        causes |= {"rival_writer", "unit"} if one.by == "rival" else {"dropped", "unit"}
        if one.by == "rival" and any(other.figure >= one.shown for other in before if other.by == "seller"):
            causes.add("dropped")
    drops = [one for one in own if one.by != "rival"]
    if len(drops) > 1 or (drops and any(one.by == "buyer" for one in before)):
        # Of several the figure before the last is known, no other.
        causes.add("rival_writer")
    if _away(history, channel, found_at - FOUND_SECONDS, found_at) or found_at > 60:
        causes.add("late")
    return causes


STOCK_CHECKERS: Final[tuple[Callable[[StockHistory], Found], ...]] = (
    shelves_show_what_there_is, nothing_older_stays_on_top, a_channel_that_was_away_gets_the_present, limits_are_kept,
    nothing_waits_for_ever, differences_have_their_cause, one_worker_tells_a_channel, a_feed_is_waited_for,
    nothing_fails_unforeseen,
)  # fmt: skip
