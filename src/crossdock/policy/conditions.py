"""Choices by CEL conditions: the first that holds wins; answers are kept by just the facts that are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import cel
import msgspec

from crossdock.model.errors import Invalid

Facts = TypeVar("Facts", bound=msgspec.Struct)
Chosen = TypeVar("Chosen")
_CHOICES_KEPT_MAX: Final = 4096


def compile_condition(when: str, example: msgspec.Struct) -> Any:
    """Compile a condition and try it on an example of the facts. Raises Invalid `condition` that says what is wrong."""
    try:
        program = cel.compile(when)
    except ValueError as error:
        message = f"The condition {when!r} is no CEL expression: {str(error).splitlines()[0]}"
        raise Invalid("condition", message, next_action="Mend the expression.") from None
    names = example.__struct_fields__
    unknown = sorted(set(program.variables()) - set(names))
    if unknown:
        message = f"The condition {when!r} names {', '.join(unknown)}, which an order does not have."
        raise Invalid("condition", message, next_action=f"Use one of {', '.join(names)}.")
    try:
        answer = program.execute(_as_context(example))
    except (RuntimeError, TypeError, ValueError) as error:
        message = f"The condition {when!r} cannot be evaluated: {str(error).splitlines()[0]}"
        raise Invalid("condition", message, next_action="Compare texts with texts, numbers with numbers.") from None
    if not isinstance(answer, bool):
        message = f"The condition {when!r} answers {answer!r} instead of true or false."
        raise Invalid("condition", message, next_action='Compare with something, as in channel == "shop".')
    return program


class Choices(Generic[Facts, Chosen]):
    """What is chosen by conditions, in its order; one without a condition is for all that come so far."""

    def __init__(self, choices: Sequence[tuple[str, Chosen]], example: Facts) -> None:
        self._ordered: Final = [
            (compile_condition(when, example) if when else None, chosen) for when, chosen in choices
        ]  # fmt: skip
        looked_at = {name for program, _ in self._ordered if program is not None for name in program.variables()}
        self._looked_at: Final = tuple(sorted(looked_at))
        self._kept: dict[tuple[object, ...], Chosen | None] = {}

    def choose(self, facts: Facts) -> Chosen | None:
        """The first whose condition holds; None when there is none."""
        key = tuple([getattr(facts, name) for name in self._looked_at])
        try:
            return self._kept[key]
        except KeyError:
            chosen = self._first(facts)
            if len(self._kept) >= _CHOICES_KEPT_MAX:
                self._kept.clear()
            self._kept[key] = chosen
            return chosen

    def _first(self, facts: Facts) -> Chosen | None:
        context = _as_context(facts)
        for program, chosen in self._ordered:
            if program is None or program.execute(context) is True:
                return chosen
        return None


def _as_context(facts: msgspec.Struct) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in msgspec.structs.asdict(facts).items()
    }  # fmt: skip
