"""`kronos data check` and `clean`: what is wrong with the bars, and series that can be trained on."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from kronos.cli.lake_options import Meter, choice_options, chosen, lake_options, open_lake, say, table
from kronos.errors import ConfigError

if TYPE_CHECKING:
    from kronos.bars import Inspection
    from kronos.data import CleanedSeries


@click.command()
@click.argument("files", metavar="[PLACE]", required=False, type=click.Path(path_type=Path))
@choice_options
@click.option("--calendar", default=None, help="24/7, 24/5 or an exchange; by default the series' own, else learned.")
@click.option("--strict", is_flag=True, help="Exit with status 1 for warnings too, not for errors alone.")
@click.option(
    "--details", default=20, type=click.IntRange(min=0), show_default=True, help="Series to show, the worst first."
)
@click.option("--verbose", is_flag=True, help="Also the findings of those series, with their times.")
@click.option("--picture", default=None, type=click.Path(path_type=Path), help="Folder for pictures of those series.")
@lake_options
def check(
    files: Path | None,
    source: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    calendar: str | None,
    strict: bool,
    details: int,
    verbose: bool,
    picture: Path | None,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check every series: gaps, duplicates, bad ticks, jumps, splits, silence, impossible candles, time zones.

    Checks the lake, or the files at PLACE as they stand. Exit status 1 where a series has an error: something that a
    model cannot be given.
    """
    from kronos.data import Report, check_files, check_lake, draw_report

    if files is not None and (source or symbols or timeframe):
        raise ConfigError("--source, --symbol and --timeframe choose series of the lake; leave them out with a PLACE")
    meter = Meter()
    inspections: Iterator[Inspection]
    lake = None
    if files is not None:
        inspections = check_files(files, calendar=calendar)
    else:
        lake = open_lake(place, storage)
        inspections = check_lake(lake, chosen(lake, source, symbols, timeframe), calendar=calendar)
    report = Report()
    for number, inspection in enumerate(inspections, 1):
        report.add(inspection)
        meter.show(f"{number:,} {inspection.name}")
    meter.clear()
    if picture is not None:
        draw_report(lake, report, picture, details)
    if as_json:
        say(report.to_dict())
    else:
        click.echo("\n".join(report.lines(details, details=5 * verbose)))
    if report.failed(strict=strict):
        sys.exit(1)


@click.command()
@choice_options
@click.option(
    "--into", default=None, help="Lake for the clean series; by default beside the lake, its name and -clean."
)
@click.option(
    "--bad-ticks",
    default="mend",
    show_default=True,
    type=click.Choice(["mend", "keep", "drop"]),
    help="What becomes of lone spikes that come back at once.",
)
@click.option("--whole", is_flag=True, help="Mend only: do not cut series at gaps, jumps and silence.")
@click.option(
    "--min-length",
    default=None,
    type=click.IntRange(min=2),
    help="Shortest stretch to keep; by default as the paper does.",
)
@click.option("--report", default=None, type=click.Path(path_type=Path), help="CSV file for every single change.")
@click.option("--replace", is_flag=True, help="Write over series of that lake that came from elsewhere.")
@click.option("--dry-run", is_flag=True, help="Say what would change and write nothing.")
@lake_options
def clean(
    source: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    into: str | None,
    bad_ticks: str,
    whole: bool,
    min_length: int | None,
    report: Path | None,
    replace: bool,
    dry_run: bool,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Mend what can be mended and cut series where they break, into another lake; the bars here stay as they are.

    Every change is counted and, with --report, written down with its old and new value. Series are cut at missing
    bars, jumps, illiquid and stagnant runs, with the paper's limits for each timeframe.
    """
    from kronos.data import Lake, clean_lake

    lake = open_lake(place, storage)
    entries, meter = chosen(lake, source, symbols, timeframe), Meter()
    target = None if dry_run else open_lake(into or f"{lake.place.rstrip('/')}-clean", storage, create=True)
    results = clean_lake(
        lake,
        entries,
        target,
        bad_ticks=cast("Literal['mend', 'keep', 'drop']", bad_ticks),
        cut=not whole,
        least=min_length,
        changes=report,
        replaces=replace,
        tell=lambda key: meter.show(f"cleaning {key}"),
    )
    meter.clear()
    if as_json:
        say({"lake": lake.place, "into": target.place if isinstance(target, Lake) else None,
             "series": [one.to_dict() for one in results]})  # fmt: skip
    failed = [one for one in results if one.failed]
    for one in failed:
        click.echo(f"failed {one.key}: {one.why}", err=True)
    if not as_json:
        _describe(results, None if target is None else target.place)
    if failed:
        sys.exit(1)


def _describe(results: "list[CleanedSeries]", place: str | None) -> None:
    rows = [(str(one.key), one.rows, one.kept, one.changed, one.pieces, one.why) for one in results if not one.failed]
    table(("series", "bars", "kept", "changed", "pieces", "because"), rows)
    kept = sum(one.kept for one in results)
    click.echo(f"{kept:,} of {sum(one.rows for one in results):,} bars kept" + (f" in {place}" if place else ""))
