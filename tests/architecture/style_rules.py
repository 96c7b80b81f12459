"""The house style that no ready-made tool checks, as pure functions from a file's text to its violations.

Each rule is one function in the table `RULES`; `test_style.py` runs them on this repository, `test_style_rules.py` on
planted violations, so that a rule that has gone blind is noticed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

LINES_MAX = 500

FORBIDDEN_MODULE_WORDS = frozenset({"utils", "util", "helper", "helpers", "manager", "managers", "misc", "common"})
FORBIDDEN_PREFIXES = ("handle_", "process_", "do_", "manage_", "update_")
FORBIDDEN_CLASS_WORD = re.compile(r"(Util|Utils|Helper|Helpers|Manager)$")

FLOATLESS_PACKAGES = ("src/crossdock/model/", "src/crossdock/rules/", "src/crossdock/policy/")

# Statements are written in one case throughout; prose that begins with "Select" or "Update" is not.
SQL_STATEMENT = re.compile(
    r"\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s|WITH\s+(RECURSIVE\s+)?\w+\s+AS\s*\(|MERGE\s+INTO\s"
    r"|select\s.*\sfrom\s|insert\s+into\s|update\s+\S+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s*\()",
    re.DOTALL,
)
SQL_OR_DEFINITION = re.compile(
    SQL_STATEMENT.pattern + r"|\s*(CREATE|DROP|ALTER|TRUNCATE|COPY|GRANT)\s+(TABLE|DATABASE|INDEX|SCHEMA|ROLE)\b",
    re.DOTALL,
)

SECRET_NAME = re.compile(
    r"(^|_)(signature|signatures|secret|secrets|hmac|password|passphrase|token_hash|access_token|csrf_token|session_token)($|_)",
)

# Put together here so that this file does not carry what it forbids.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "python" + "hosted", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("proxy", "golang", "org"),
        ("static", "crates", "io"),
    )
)
MACHINE_FOLDERS = tuple(f"/{name}/" for name in ("work", "root", "tmp", "opt/" + "pypi"))
MACHINE_PATH = re.compile(r"(?<![\w.~}>*-])(" + "|".join(re.escape(folder) for folder in MACHINE_FOLDERS) + ")")

MIGRATION_NAME = re.compile(r"^(\d{4})_[a-z][a-z0-9_]*\.sql$")


@dataclass(frozen=True, slots=True)
class Violation:
    """One line that breaks one rule."""

    path: str
    line: int
    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.detail}"


Rule = Callable[[str, str, ast.Module], Iterator[Violation]]


def short_files(path: str, text: str, _tree: ast.Module) -> Iterator[Violation]:
    """A file can be read in one sitting."""
    lines = text.count("\n")
    if lines > LINES_MAX:
        yield Violation(path, lines, "short-files", f"{lines} lines, at most {LINES_MAX}")


def telling_modules(path: str, _text: str, _tree: ast.Module) -> Iterator[Violation]:
    """A module is named after its subject."""
    for part in PurePosixPath(path).with_suffix("").parts:
        if FORBIDDEN_MODULE_WORDS & set(part.lower().split("_")):
            yield Violation(path, 1, "telling-modules", f"{part!r} says nothing about its subject")


def telling_names(path: str, _text: str, tree: ast.Module) -> Iterator[Violation]:
    """A function's verb says what it does to the business, a class is not a 'manager'."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = node.name.lstrip("_")
            if name.startswith(FORBIDDEN_PREFIXES):
                yield Violation(path, node.lineno, "telling-names", f"function {node.name!r}")
        elif isinstance(node, ast.ClassDef) and FORBIDDEN_CLASS_WORD.search(node.name):
            yield Violation(path, node.lineno, "telling-names", f"class {node.name!r}")


def decimal_only(path: str, _text: str, tree: ast.Module) -> Iterator[Violation]:
    """Money and quantities are decimals: where they live, float occurs only in spans of time (`…_seconds`)."""
    if not path.startswith(FLOATLESS_PACKAGES):
        return
    spans_of_time = set(_names_in_annotations_of_spans(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "float" and node not in spans_of_time:
            yield Violation(path, node.lineno, "decimal-only", "float")
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield Violation(path, node.lineno, "decimal-only", f"the float literal {node.value}")


def imports_on_top(path: str, _text: str, tree: ast.Module) -> Iterator[Violation]:
    """What a module needs is seen at its top."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    found = {
        inner.lineno
        for function in functions
        for inner in ast.walk(function)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    }
    for line in sorted(found):
        yield Violation(path, line, "imports-on-top", "an import inside a function")


def statements_in_files(path: str, _text: str, tree: ast.Module) -> Iterator[Violation]:
    """SQL lives in .sql files, where it can be read, explained and asserted; never built from pieces of text."""
    documentation = set(_docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            first = node.values[0] if node.values else None
            if isinstance(first, ast.Constant) and SQL_OR_DEFINITION.match(str(first.value)):
                yield Violation(path, node.lineno, "statements-in-files", "SQL made by an f-string")
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in documentation
            and SQL_STATEMENT.match(node.value)
        ):
            yield Violation(path, node.lineno, "statements-in-files", "an SQL statement outside a .sql file")


def constant_time(path: str, _text: str, tree: ast.Module) -> Iterator[Violation]:
    """Secrets and signatures are compared by hmac.compare_digest, whose time tells nothing."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        operands = [node.left, *node.comparators]
        equality = any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops)
        if not equality or any(isinstance(operand, ast.Constant) for operand in operands):
            continue
        for operand in operands:
            if SECRET_NAME.search(_last_name(operand).lower()):
                yield Violation(path, node.lineno, "constant-time", f"{ast.unparse(operand)!r} compared with ==")


RULES: tuple[Rule, ...] = (
    short_files,
    telling_modules,
    telling_names,
    decimal_only,
    imports_on_top,
    statements_in_files,
    constant_time,
)


def check_source(path: str, text: str, rules: tuple[Rule, ...] = RULES) -> list[Violation]:
    """All violations of one Python file; `path` is relative to the repository, with forward slashes."""
    tree = ast.parse(text, filename=path)
    return [violation for rule in rules for violation in rule(path, text, tree)]


def check_text(path: str, text: str) -> list[Violation]:
    """What no committed file may carry, whatever its kind: a registry's host name, a path of one machine."""
    return [
        Violation(path, number, "portable", found)
        for number, line in enumerate(text.splitlines(), start=1)
        for found in [*(host for host in REGISTRY_HOSTS if host in line), *MACHINE_PATH.findall(line)]
    ]


def check_migrations(names: list[str]) -> list[Violation]:
    """Migrations are numbered 0001, 0002 … without gap or double, so that every database has one history."""
    wrong = [Violation(name, 1, "migrations", "not NNNN_name.sql") for name in names if not MIGRATION_NAME.match(name)]
    numbers = sorted(int(name[:4]) for name in names if MIGRATION_NAME.match(name))
    if numbers != list(range(1, len(numbers) + 1)):
        wrong.append(Violation("migrations", 1, "migrations", f"numbered {numbers}"))
    return wrong


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


def _names_in_annotations_of_spans(tree: ast.Module) -> Iterator[ast.Name]:
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=annotation):
                pass
            case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), annotation=annotation):
                pass
            case _:
                continue
        if annotation is not None and name.endswith("_seconds"):
            yield from (inner for inner in ast.walk(annotation) if isinstance(inner, ast.Name))


def _last_name(node: ast.expr) -> str:
    """The word that tells what an expression is: `connection.secret` and `headers["Signature"]` end in it."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name.replace("-", "_")
        case ast.Call(func=function):
            return _last_name(function)
        case _:
            return ""
