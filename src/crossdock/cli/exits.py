"""Exit codes of the `crossdock` command, the same for every subcommand."""

from __future__ import annotations

from typing import Final

from crossdock.model.errors import CrossdockError

OK: Final = 0
NOT_HEALTHY: Final = 1
USAGE: Final = 2
CONFIGURATION: Final = 3
UNAVAILABLE: Final = 4
REFUSED: Final = 5
DEFECT: Final = 6

# By the error's class: who must act.
BY_KIND: Final = {
    "invalid": USAGE,
    "conflict": REFUSED,
    "refused": REFUSED,
    "unavailable": UNAVAILABLE,
    "in_doubt": UNAVAILABLE,
    "misconfigured": CONFIGURATION,
    "defect": DEFECT,
}

HELP: Final = """\b
Exit codes:
  0  done; for `status`: all is healthy
  1  for `status`: something is not healthy
  2  the command was called wrongly, or names something that is not there
  3  the configuration, the settings or the home need mending
  4  the database or a partner does not answer
  5  the business or the state of a document says no
  6  a defect of Crossdock"""


def exit_code(error: CrossdockError) -> int:
    return BY_KIND[error.kind]
