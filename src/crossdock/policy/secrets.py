"""Secrets of connections: never written in the configuration, only named there: `{ env = "NAME" }` or
`{ file = "secrets.toml", key = "shop.key" }` (relative to the configuration; readable by its owner only).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from crossdock.policy.problems import Problems

_SECRET_WORD: Final = re.compile(r"(^|_)(key|keys|secret|secrets|password|passphrase|token|tokens|credentials?)($|_)")
_ACTION: Final = 'Write { env = "NAME" } or { file = "secrets.toml", key = "name" } instead.'


@dataclass(slots=True)
class SecretSource:
    """Resolves references against the environment and against secret files beside the configuration."""

    directory: Path
    environment: Mapping[str, str]
    problems: Problems
    _files: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)

    def resolve_connection(self, table: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The connection's table with every reference replaced by its value."""
        resolved = {**table, "referenced": []}
        settings = table.get("settings")
        if isinstance(settings, Mapping):
            resolved["settings"] = {
                name: self._resolve(name, value, f"{path}.settings.{name}") for name, value in settings.items()
            }
            resolved["referenced"] = [name for name, value in settings.items() if is_reference(value)]
        hooks = table.get("webhook_secrets")
        if isinstance(hooks, list):
            resolved["webhook_secrets"] = [
                self._resolve("secret", value, f"{path}.webhook_secrets[{index}]") for index, value in enumerate(hooks)
            ]
        return resolved

    def _resolve(self, name: str, value: Any, path: str) -> Any:
        if not is_reference(value):
            if isinstance(value, str) and _SECRET_WORD.search(name):
                self.problems.add(path, "A secret must not stand in the configuration.", _ACTION)
            return value
        if "env" in value:
            return self._from_environment(value["env"], path)
        return self._from_file(str(value["file"]), str(value.get("key", "")), path)

    def _from_environment(self, variable: Any, path: str) -> str:
        found = self.environment.get(str(variable), "")
        if not found:
            self.problems.add(path, f"The environment variable {variable} is not set.", f"Set {variable}.")
        return found

    def _from_file(self, name: str, key: str, path: str) -> Any:
        if name not in self._files:
            self._files[name] = self._read_file(name, path)
        found: Any = self._files[name]
        if found is None:
            return ""
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(found, str) or not found:
            self.problems.add(path, f"{name} has no text {key}.", f"Add {key} to {name}.")
            return ""
        return found

    def _read_file(self, name: str, path: str) -> Mapping[str, Any] | None:
        file = self.directory / name
        try:
            if file.stat().st_mode & 0o077:
                self.problems.add(path, f"{name} can be read by others.", f"Run: chmod 600 {name}")
            return tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError:
            self.problems.add(path, f"The secret file {name} cannot be read.", f"Create {name}, readable by you only.")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            # The parser's own message may show what the file holds.
            self.problems.add(path, f"The secret file {name} is not TOML.", "Correct the file.")
        return None


def is_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and ("env" in value or "file" in value)
