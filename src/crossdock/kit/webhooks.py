"""Standard Webhooks signatures over the raw body (https://www.standardwebhooks.com).

Pure: the time is given. `verify` accepts any of the connection's secrets, so that a secret can be rotated without a
gap; comparison takes the same time whatever is wrong.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from crossdock.model.errors import Invalid, Misconfigured

TOLERANCE_SECONDS: Final = 300
SECRET_BYTES_MIN: Final = 16
_SIGNATURES_MAX: Final = 16
_ID: Final = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,200}\Z")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}\Z")
_PREFIX: Final = "whsec_"


@dataclass(frozen=True, slots=True)
class WebhookSecrets:
    """The keys that a connection accepts, newest first. Made by `read_secrets`."""

    keys: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"WebhookSecrets({len(self.keys)})"


def read_secrets(texts: Sequence[str], connection: str = "") -> WebhookSecrets:
    """Decode `whsec_…` secrets. Raises Misconfigured for none, an empty or a guessable one: nothing starts unsigned."""
    keys = []
    for text in texts:
        try:
            key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) < SECRET_BYTES_MIN:
            message = f"A webhook secret of connection {connection!r} is empty, too short or not base64."
            raise Misconfigured(
                "webhook_secret_form", message,
                field="webhook_secrets", next_action="Generate one of 24 random bytes, written whsec_<base64>.",
            )  # fmt: skip
        keys.append(key)
    if not keys:
        raise Misconfigured(
            "webhook_secret_missing", f"Connection {connection!r} receives webhooks but has no secret.",
            field="webhook_secrets", next_action="Set at least one webhook secret.",
        )  # fmt: skip
    return WebhookSecrets(tuple(keys))


def verify(secrets: WebhookSecrets, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Return the webhook's id if one of `secrets` signed exactly this body lately; otherwise raise Invalid.

    `headers` has its names in lower case.
    """
    webhook_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "")
    if not _ID.match(webhook_id) or not _TIMESTAMP.match(timestamp) or not given:
        raise Invalid("webhook_headers", "The webhook carries no complete signature.", field="webhook-signature")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        raise Invalid("webhook_time", "The webhook's time is not within five minutes.", field="webhook-timestamp")
    signatures = [part.removeprefix("v1,") for part in given.split(" ")[:_SIGNATURES_MAX] if part.startswith("v1,")]
    matched = False
    for key in secrets.keys:
        expected = _signature(key, webhook_id, timestamp, body)
        for signature in signatures:
            # No early end: the time must not tell which secret or signature came close.
            matched |= hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))
    if not matched:
        raise Invalid("webhook_signature", "The webhook's signature does not fit its body.", field="webhook-signature")
    return webhook_id


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header of a body, as the sender makes it."""
    key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    return f"v1,{_signature(key, webhook_id, str(timestamp), body)}"


def _signature(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
