"""Where people reach the console."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec


class ConsolePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`public_url`: scheme and host as a browser shows them, such as "https://crossdock.example.com". With https the
    session's cookie is sent over TLS only and bound to that host. "" : over plain HTTP, on the machine itself."""

    public_url: str = ""

    @property
    def secure(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def is_address(self) -> bool:
        """Whether it is what it should be: scheme, host, perhaps a port, and nothing else."""
        try:
            parts = urlsplit(self.public_url)
            port_is_fine = parts.port is None or parts.port > 0
        except ValueError:
            return False
        rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
        return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_fine and not rest
