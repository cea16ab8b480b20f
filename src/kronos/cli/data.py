"""`kronos data`: bars from any source into a lake, looked at, mended, split and handed out.

This file holds the group and the commands that look; `data_in`, `data_quality` and `data_out` hold the others.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kronos.cli.data_in import fetch, import_, update
from kronos.cli.data_out import export, resample, split, validate
from kronos.cli.data_quality import check, clean
from kronos.cli.lake_options import choice_options, chosen, lake_options, open_lake, say, start_log, table

if TYPE_CHECKING:
    from kronos.data import Entry


@click.group()
@click.option("--log", default=None, type=click.Path(path_type=Path, dir_okay=False), help="Also write a log file.")
@click.option("--debug", is_flag=True, help="Log every request and decision, onto the error stream as well.")
@click.pass_context
def data(context: click.Context, log: Path | None, debug: bool) -> None:
    """Bars from exchanges, files and Qlib folders to checked, leak-free training sets.

    Begin with `kronos data import FOLDER` or `kronos data fetch binance BTC/USDT 1h --since 2023-01-01`.
    """
    start_log(context, log, debug)


@click.command("list")
@choice_options
@lake_options
def list_(
    source: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the series of the lake: rows, first and last bar, without reading the bars."""
    lake = open_lake(place, storage)
    entries = [
        entry
        for entry in lake.entries(source=source, timeframe=timeframe)
        if not symbols or {entry.key.symbol, entry.key.asset} & set(symbols)
    ]
    if as_json:
        say([summary(entry) for entry in entries])
        return
    rows = [
        (e.key.source, e.key.symbol, e.key.timeframe, e.market or "-", e.rows, _short(e.first), _short(e.last))
        for e in entries
    ]
    table(("source", "symbol", "timeframe", "market", "rows", "first", "last"), rows, left=4)
    click.echo(f"{len(entries):,} series, {sum(e.rows for e in entries):,} bars in {lake.place}")


@click.command()
@choice_options
@click.option("--rows", default=5, type=click.IntRange(min=1), show_default=True, help="Bars to show from each end.")
@lake_options
def show(
    source: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    rows: int,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show series closely: where their bars came from, what was noted on the way in, the first and last bars."""
    lake = open_lake(place, storage)
    found = []
    for entry in chosen(lake, source, symbols, timeframe):
        frame = lake.read_raw(entry.key)
        ends = frame if len(frame) <= 2 * rows else frame.iloc[[*range(rows), *range(-rows, 0)]]
        if as_json:
            bars = [{"time": time, **bar} for time, bar in zip(ends.index, ends.to_dict("records"), strict=True)]
            found.append({**summary(entry), "bars": [_without_nan(bar) for bar in bars]})
            continue
        click.echo(
            f"{entry.key}: {entry.rows:,} bars in {entry.parts} parts, {entry.bytes:,} bytes, version {entry.version}"
        )
        click.echo(
            f"  market {entry.market or 'unknown'}, zone {entry.zone or 'none'}, calendar {entry.calendar or 'learned'}"
        )
        for origin in entry.origins:
            span = f"{origin.at}{' to ' + origin.until if origin.until else ''}"
            notes = ", ".join(f"{name} {count:,}" for name, count in origin.notes.items())
            click.echo(f"  {origin.kind} {origin.place} {origin.detail} {span}{': ' + notes if notes else ''}")
        click.echo(ends.to_string())
    if as_json:
        say(found)


@click.command()
@choice_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@lake_options
def drop(
    source: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    yes: bool,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Forget series; their bars are deleted."""
    lake = open_lake(place, storage)
    entries = chosen(lake, source, symbols, timeframe)
    if not yes:
        bars = sum(entry.rows for entry in entries)
        click.confirm(f"Delete {len(entries)} series with {bars:,} bars from {lake.place}?", abort=True, err=True)
    for entry in entries:
        lake.drop(entry.key)
    if as_json:
        say([summary(entry) for entry in entries])
    else:
        click.echo(f"dropped {len(entries)} series")


def summary(entry: "Entry") -> dict[str, Any]:
    """What the lake knows of a series, for JSON."""
    return {
        "source": entry.key.source,
        "symbol": entry.key.symbol,
        "timeframe": entry.key.timeframe,
        "market": entry.market,
        "rows": entry.rows,
        "first": entry.first.isoformat(),
        "last": entry.last.isoformat(),
        "zone": entry.zone,
        "calendar": entry.calendar,
        "bytes": entry.bytes,
        "parts": entry.parts,
        "version": entry.version,
        "notes": dict(entry.notes),
        "origins": [vars(origin) for origin in entry.origins],
    }


def _short(moment: Any) -> str:
    text = f"{moment:%Y-%m-%d %H:%M}"
    return text.removesuffix(" 00:00")


def _without_nan(bar: dict[Any, Any]) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {name: None if value != value else value for name, value in bar.items()}


for command in (fetch, import_, update, list_, show, check, clean, resample, split, export, validate, drop):
    data.add_command(command)
