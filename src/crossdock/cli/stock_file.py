"""A file of balances for `crossdock stock load`: read line by line, taken set-based, rejects written line-exact."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from crossdock.app import Application
from crossdock.ledger.stock_load import COLUMNS, Loaded, Reject, open_load
from crossdock.model.errors import Invalid
from crossdock.rules.balances import fix_of

_REQUIRED: Final = ("sku", "location", "on_hand")
_REJECT_COLUMNS: Final = ("line", "reason", "fix", *_REQUIRED, "unit", "as_of")
FIELD_MAX: Final = 10_000
_SHORT: Final = "row_short"


class StockFile:
    """The file's rows in the order of the ledger's columns. Rows that are no rows at all are kept in `broken`."""

    def __init__(self, path: Path, content: Any) -> None:
        csv.field_size_limit(FIELD_MAX)
        self._reader = csv.reader(content)
        self.broken: list[Reject] = []
        header = [name.strip().lower() for name in next(self._reader, [])]
        missing = [name for name in _REQUIRED if name not in header]
        unknown = [name for name in header if name not in COLUMNS]
        if missing or unknown or len(set(header)) < len(header):
            what = f"lacks {', '.join(missing)}" if missing else f"has the columns {', '.join(unknown or header)}"
            raise Invalid(
                "file_header", f"{path.name} {what}.",
                next_action=f"Write a first line with {', '.join(COLUMNS)}; all after on_hand may be left out.",
            )  # fmt: skip
        self._places = [header.index(name) if name in header else -1 for name in COLUMNS]
        self._width = len(header)

    def __iter__(self) -> Iterator[tuple[int, Sequence[str]]]:
        reader, width, places = self._reader, self._width, self._places
        plain = places == list(range(len(COLUMNS)))
        try:
            for cells in reader:
                if len(cells) != width or "\0" in cells[0]:
                    if cells:
                        self.broken.append(Reject(reader.line_num, _SHORT, cells[0].replace("\0", ""), "", "", "", ""))
                    continue
                row = cells if plain else [cells[place] if place >= 0 else "" for place in places]
                yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise Invalid(
                "file_form", f"Line {reader.line_num + 1} cannot be read: {error}",
                next_action="Save the file as CSV in UTF-8; nothing of it was taken.",
            ) from None  # fmt: skip


async def load_file(
    application: Application, path: Path, source: str, as_of: datetime | None, rejects: Path, *, complete: bool,
    believe: bool,
) -> Loaded:  # fmt: skip
    """Take the file. Raises Invalid when it is no such file or the source is unknown."""
    configuration = application.configuration
    if source not in configuration.connections:
        known = ", ".join(sorted(configuration.connections))
        raise Invalid("source_unknown", f"There is no connection {source}.", next_action=f"Name one of {known}.")
    now = application.clock()
    loaded = Loaded()
    ownership = application.plans.ownership
    with (
        path.open(encoding="utf-8-sig", newline="") as content,
        rejects.open("w", encoding="utf-8", newline="") as out,
        _progress() as progress,
    ):
        file = StockFile(path, content)
        written = csv.writer(out)
        written.writerow(_REJECT_COLUMNS)

        def reject(row: Reject) -> None:
            written.writerow((row.line, row.code, fix_of(row.code), *row[2:]))

        async with open_load(application.pool, configuration.policy, ownership, source, now, as_of or now) as load:
            reading = progress.add_task("reading", total=None)
            loaded.rows = await load.copy(file, lambda count: progress.update(reading, completed=count))
            for row in file.broken:
                reject(row)
            loaded.rejected = len(file.broken)
            loaded.held = None if believe else await load.judge(loaded.rows, complete=complete)
            if loaded.held:
                return loaded
            taking: TaskID = progress.add_task("taking", total=load.lines)
            await load.take(loaded, reject, lambda line: progress.update(taking, completed=line))
            await load.finish(loaded, complete=complete)
    loaded.rows += len(file.broken)
    return loaded


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
