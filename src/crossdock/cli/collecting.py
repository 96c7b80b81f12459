"""When a process looks for garbage: seldom, and not among what it keeps for as long as it lives.

Documents are trees that reference counting frees; what is left for the collector is little. A full round over the
modules and tables of a started process takes a tenth of a second, in which nobody is answered.
"""

from __future__ import annotations

import gc
from typing import Final

# New objects that are still there, before the young are looked at; then rounds before older ones are.
YOUNG_MAX: Final = 20_000
ROUNDS: Final = 10


def collect_seldom() -> None:
    """Call it when a process has started: what is there now is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, ROUNDS, ROUNDS)
