"""The canaries of the proof rig, planted into the world of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from crossdock.prove.canaries import CARD_NUMBER, Left, Person, client_secrets, read_files, webhook_secrets
from tests.e2e.proof_world import World


def secrets_of(world: World, person: Person, **further: str) -> dict[str, str]:
    """What nobody may find in any place, whatever his role."""
    found = world.secrets
    return {
        **client_secrets("portal-1", found.client_secret), "operator's secret": found.operator_secret,
        **webhook_secrets(found.webhook_secret),
        "console password": found.console_password, "partner's key": found.partner_key,
        "database password": urlsplit(world.dsn).password or "", "card token": person.card_token,
        "card number": CARD_NUMBER, **further,
    }  # fmt: skip


def files_left(world: World) -> Iterator[Left]:
    """The logs and the spans of every process."""
    yield from read_files(world.logs, world.traces)
