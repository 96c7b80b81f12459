"""Webhook signatures: any change of body, id, time or secret is noticed; rotation leaves no gap."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.kit.webhooks import read_secrets, sign, verify
from crossdock.model.errors import Invalid, Misconfigured

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OTHER = "whsec_" + base64.b64encode(b"another-secret-another-s").decode()
BODY = b'{"order_id": "S-100234", "state": "paid"}'


def headers(
    body: bytes = BODY, *, secret: str = SECRET, webhook_id: str = "msg_1", at: datetime = NOW
) -> dict[str, str]:
    timestamp = int(at.timestamp())
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, webhook_id, timestamp, body),
    }


def check(signed: dict[str, str], body: bytes = BODY, *secrets: str) -> str:
    return verify(read_secrets(secrets or (SECRET,)), signed, body, NOW)


def test_a_signed_body_is_accepted() -> None:
    assert check(headers()) == "msg_1"


def test_the_published_example_is_accepted() -> None:
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    signed = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": signature,
    }
    secrets = read_secrets(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    at = datetime.fromtimestamp(1614265330, UTC)
    assert verify(secrets, signed, b'{"test": 2432232314}', at) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


@given(st.integers(0, len(BODY) * 8 - 1))
def test_every_flipped_bit_is_noticed(place: int) -> None:
    flipped = bytearray(BODY)
    flipped[place // 8] ^= 1 << place % 8
    with pytest.raises(Invalid) as caught:
        check(headers(), bytes(flipped))
    assert caught.value.code == "webhook_signature"


@pytest.mark.parametrize(
    "changed",
    [BODY + b"\n", BODY.replace(b": ", b":"), json.dumps(dict(reversed(json.loads(BODY).items()))).encode(), b""],
    ids=["newline", "white space", "reordered keys", "empty"],
)
def test_the_same_meaning_in_other_bytes_is_refused(changed: bytes) -> None:
    with pytest.raises(Invalid):
        check(headers(), changed)


@pytest.mark.parametrize("minutes", [-6, 6, -60 * 24 * 365])
def test_an_old_or_future_time_is_refused(minutes: int) -> None:
    with pytest.raises(Invalid) as caught:
        check(headers(at=NOW + timedelta(minutes=minutes)))
    assert caught.value.code == "webhook_time"


@pytest.mark.parametrize("minutes", [-4.9, 0, 4.9])
def test_a_little_skew_is_accepted(minutes: float) -> None:
    assert check(headers(at=NOW + timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("webhook-id", "msg_2"), ("webhook-id", ""), ("webhook-id", "msg.1"), ("webhook-timestamp", "x"),
     ("webhook-timestamp", str(int(NOW.timestamp()) + 1)), ("webhook-signature", ""), ("webhook-signature", "v1,"),
     ("webhook-signature", "v1a,abc"), ("webhook-signature", "v1,\udcff")],
)  # fmt: skip
def test_a_changed_header_is_refused(name: str, value: str) -> None:
    with pytest.raises(Invalid):
        check(headers() | {name: value})


def test_rotation_accepts_old_and_new_secret_and_nothing_else() -> None:
    assert check(headers(secret=SECRET), BODY, OTHER, SECRET)
    assert check(headers(secret=OTHER), BODY, OTHER, SECRET)
    with pytest.raises(Invalid):
        check(headers(secret=SECRET), BODY, OTHER)


def test_a_sender_that_signs_with_two_secrets_is_accepted_by_either() -> None:
    old, new = headers(secret=SECRET), headers(secret=OTHER)
    both = old | {"webhook-signature": f"{old['webhook-signature']} {new['webhook-signature']}"}
    assert check(both, BODY, SECRET)
    assert check(both, BODY, OTHER)


@pytest.mark.parametrize("texts", [[], [""], ["whsec_"], ["whsec_c2hvcnQ="], ["not base64 at all!"]])
def test_no_usable_secret_no_start(texts: list[str]) -> None:
    with pytest.raises(Misconfigured):
        read_secrets(texts, "shop")


def test_secrets_do_not_show_themselves() -> None:
    assert "0123" not in repr(read_secrets([SECRET]))
