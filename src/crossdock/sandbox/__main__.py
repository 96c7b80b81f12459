"""`python -m crossdock.sandbox <kind> --port N --home DIR`: one partner, or the order stream, in this process."""

from __future__ import annotations

import argparse
import os

from crossdock.sandbox.portal import CrossdockAccess
from crossdock.sandbox.start import PARTNERS, PartnerSettings, run_partner
from crossdock.sandbox.stream import StreamSettings, run_stream
from crossdock.sandbox.world import WAREHOUSES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m crossdock.sandbox", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind in PARTNERS:
        _add_partner_options(kinds.add_parser(kind))
    _add_stream_options(kinds.add_parser("stream"))
    given = parser.parse_args()
    if given.kind == "stream":
        run_stream(_stream_settings(given))
    else:
        run_partner(_partner_settings(given))


def _add_partner_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--home", required=True)
    parser.add_argument("--name", default="")
    parser.add_argument("--webhook-url", default="")
    parser.add_argument("--webhook-secret", default="", help="better: CROSSDOCK_SANDBOX_WEBHOOK_SECRET")
    parser.add_argument("--rate-per-second", type=float, help="0 is no limit; marketplaces have one by default")
    parser.add_argument("--carrier-url", default="")
    parser.add_argument("--crossdock-url", default="")
    parser.add_argument("--wave-interval", type=float, default=4.0)
    parser.add_argument("--no-waves", action="store_true")
    parser.add_argument("--warehouses", default=",".join(WAREHOUSES), help="a warehouse system's places, by comma")
    parser.add_argument("--deliver-after", type=float, nargs=2, default=(20.0, 60.0))
    parser.add_argument("--follow-parent", action="store_true", help="end when the starting process ends")


def _add_stream_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", required=True)
    parser.add_argument("--orders-per-second", type=float, default=1.0)
    parser.add_argument("--duration", type=float, default=0.0, help="seconds; 0 is until stopped")
    parser.add_argument("--orders", type=int, default=0, help="stop after this many")
    parser.add_argument("--seed", type=int, default=1)
    for channel in ("portal", "shop", "bazaar", "agora"):
        parser.add_argument(f"--{channel}", default="", help="base URL")


def _partner_settings(given: argparse.Namespace) -> PartnerSettings:
    access = None
    if given.crossdock_url:
        access = CrossdockAccess(
            given.crossdock_url,
            os.environ.get("CROSSDOCK_SANDBOX_CLIENT_ID", ""),
            os.environ.get("CROSSDOCK_SANDBOX_CLIENT_SECRET", ""),
        )
    return PartnerSettings(
        kind=given.kind, port=given.port, home=given.home, name=given.name,
        api_key=os.environ.get("CROSSDOCK_SANDBOX_API_KEY", ""), webhook_url=given.webhook_url,
        webhook_secret=given.webhook_secret or os.environ.get("CROSSDOCK_SANDBOX_WEBHOOK_SECRET", ""),
        rate_per_second=given.rate_per_second, carrier_url=given.carrier_url,
        carrier_key=os.environ.get("CROSSDOCK_SANDBOX_CARRIER_KEY", ""), crossdock=access,
        wave_interval_seconds=given.wave_interval, wave_on=not given.no_waves,
        warehouses=tuple(given.warehouses.split(",")),
        deliver_after_seconds=tuple(given.deliver_after), follow_parent=given.follow_parent,
    )  # fmt: skip


def _stream_settings(given: argparse.Namespace) -> StreamSettings:
    channels = ("portal", "shop", "bazaar", "agora")
    partners = {channel: getattr(given, channel) for channel in channels if getattr(given, channel)}
    return StreamSettings(partners, given.home, given.orders_per_second, given.duration, given.seed, given.orders)


if __name__ == "__main__":
    main()
