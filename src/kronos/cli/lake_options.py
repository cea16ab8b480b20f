"""What the data commands share: the lake they work on, which of its series, and how they report."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kronos.errors import ConfigError

if TYPE_CHECKING:
    from kronos.data import Entry, Lake

T = TypeVar("T")

_REDRAW = 0.1  # seconds


def default_lake() -> str:
    """KRONOS_LAKE, else a folder where this system keeps the data of a user."""
    named = os.environ.get("KRONOS_LAKE")
    if named:
        return named
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return str(base / "kronos" / "lake")


def lake_options(command: Any) -> Any:
    """--lake, --storage and --json, which every data command takes."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text."),
        click.option(
            "--storage",
            multiple=True,
            metavar="KEY=VALUE",
            help="An option of the lake's URL, such as endpoint_url=...",
        ),
        click.option(
            "--lake",
            "place",
            default=default_lake,
            show_default="KRONOS_LAKE, else the user's data folder",
            help="Folder or URL (s3://...) of the lake.",
        ),
    ):
        command = option(command)
    return command


def choice_options(command: Any) -> Any:
    """--source, --symbol and --timeframe, which choose among the series."""
    for option in (
        click.option("--timeframe", default=None, help="Only series of this timeframe."),
        click.option("--symbol", "symbols", multiple=True, help="Only this symbol; may be repeated."),
        click.option("--source", default=None, help="Only series of this source."),
    ):
        command = option(command)
    return command


def open_lake(place: str, storage: Sequence[str], *, create: bool = False) -> "Lake":
    """The lake that the options name."""
    from kronos.data import Lake

    pairs = dict(text.partition("=")[::2] for text in storage)
    if not all(name and mark for name, mark in (text.partition("=")[:2] for text in storage)):
        raise ConfigError("--storage: expected KEY=VALUE each time")  # and not what was given: it may be a secret
    return Lake.open(place, create=create, **pairs)


def chosen(
    lake: "Lake", source: str | None = None, symbols: Sequence[str] = (), timeframe: str | None = None
) -> list["Entry"]:
    """The series that the options choose; none at all is an error."""
    found = lake.entries(source=source, timeframe=timeframe)
    if symbols:
        absent = sorted(set(symbols) - {name for entry in found for name in (entry.key.symbol, entry.key.asset)})
        if absent:
            raise ConfigError(f"{lake.place}: no series of {', '.join(absent)}; `kronos data list` shows what is there")
        found = [entry for entry in found if {entry.key.symbol, entry.key.asset} & set(symbols)]
    if not found:
        raise ConfigError(f"{lake.place}: no series to work on; `kronos data list` shows what is there")
    return found


def say(result: Any) -> None:
    """Print a result as JSON; times in ISO spelling."""
    click.echo(json.dumps(result, indent=1, default=str, ensure_ascii=False))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> None:
    """Print aligned columns, the first `left` of them to the left."""
    cells = [list(heads), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    for row in cells:
        padded = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        click.echo("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


class Meter:
    """One line on the error stream that is drawn anew; silent where nobody is looking."""

    def __init__(self) -> None:
        """Look whether anybody is."""
        self._on, self._drawn, self._width = sys.stderr.isatty(), 0.0, 0

    def show(self, text: str, *, now: bool = False) -> None:
        """Draw the line, unless it was drawn just before."""
        if self._on and (now or time.monotonic() - self._drawn > _REDRAW):
            self._drawn = time.monotonic()
            sys.stderr.write("\r" + text[:110].ljust(self._width))
            sys.stderr.flush()
            self._width = len(text[:110])

    def clear(self) -> None:
        """Leave no line behind."""
        if self._on and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0

    def over(self, things: Sequence[T], name: Callable[[T], str]) -> Iterator[T]:
        """Go through things and show which one and how many."""
        for number, thing in enumerate(things, 1):
            self.show(f"{number:,}/{len(things):,} {name(thing)}")
            yield thing
        self.clear()


def start_log(context: click.Context, path: Path | None, debug: bool) -> None:
    """Write what the package logs into a file, and with `debug` onto the error stream too, until the command ends."""
    root = logging.getLogger("kronos")
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    handlers: list[logging.Handler] = []
    if path is not None:
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
    if debug:
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
        context.call_on_close(handler.close)
        context.call_on_close(lambda handler=handler: root.removeHandler(handler))
