"""What is wrong with a configuration: all of it at once, each with file, line, path, a sentence and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crossdock.model.errors import Misconfigured
from crossdock.policy.lines import find_line


@dataclass(frozen=True, slots=True)
class Problem:
    file: str
    line: int
    path: str
    message: str
    next_action: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.message} {self.next_action}".rstrip()


class ConfigurationErrors(Misconfigured):
    """Every problem that was found, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        count = len(problems)
        super().__init__(
            "configuration", f"The configuration has {count} problem{'s' if count != 1 else ''}.",
            detail="\n".join(str(problem) for problem in problems), next_action=problems[0].next_action,
        )  # fmt: skip
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join((self.message, *(str(problem) for problem in self.problems)))


@dataclass(slots=True)
class Problems:
    """Collects problems of one file."""

    file: str
    lines: Mapping[str, int]
    found: list[Problem] = field(default_factory=list)

    def add(self, path: str, message: str, next_action: str = "", *, line: int | None = None) -> None:
        place = find_line(self.lines, path) if line is None else line
        self.found.append(Problem(self.file, place, path, message, next_action))

    def stop_if_any(self) -> None:
        """Raises ConfigurationErrors when anything was found."""
        if self.found:
            raise ConfigurationErrors(tuple(sorted(self.found, key=lambda problem: problem.line)))
