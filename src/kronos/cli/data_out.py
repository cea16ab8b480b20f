"""`kronos data resample`, `split`, `export` and `validate`: what the lake hands out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from kronos.cli.lake_options import Meter, choice_options, chosen, lake_options, open_lake, say, table
from kronos.errors import ConfigError, KronosError

if TYPE_CHECKING:
    from kronos.data import Split, Timeline


@click.command()
@click.option("--to", "target", required=True, help="The longer timeframe, such as 4h or 1d.")
@choice_options
@click.option(
    "--label",
    default="left",
    show_default=True,
    type=click.Choice(["left", "right"]),
    help="What the stamps of the bars mean: their start or their end.",
)
@click.option(
    "--align",
    default="clock",
    show_default=True,
    type=click.Choice(["clock", "session"]),
    help="Begin the longer bars at midnight, or at the session's first bar (stocks).",
)
@click.option("--partial", is_flag=True, help="Keep a last bar that is not complete yet.")
@click.option("--replace", is_flag=True, help="Write over bars of that timeframe that came from elsewhere.")
@lake_options
def resample(
    target: str,
    source: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    label: str,
    align: str,
    partial: bool,
    replace: bool,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make longer bars out of series, and store them beside those.

    Choose one timeframe to make them from with --timeframe, where the lake holds several of a symbol.
    """
    from kronos.bars import Timeframe
    from kronos.data import resample_series

    lake = open_lake(place, storage)
    entries = chosen(lake, source, symbols, timeframe)
    wanted = Timeframe.parse(target)
    shorter = [entry for entry in entries if Timeframe.parse(entry.key.timeframe) < wanted]
    made: dict[tuple[str, str], str] = {}
    for entry in shorter:
        name = (entry.key.source, entry.key.symbol)
        if name in made:
            raise ConfigError(
                f"{entry.key.source} {entry.key.symbol} is there as {made[name]} and {entry.key.timeframe}; "
                f"say with --timeframe which of them to make {wanted} from"
            )
        made[name] = entry.key.timeframe
    if not shorter:
        raise ConfigError(f"no series is shorter than {wanted}; nothing to make it from")
    meter, done, failed = Meter(), [], []
    for entry in meter.over(shorter, lambda entry: str(entry.key)):
        try:
            key, written = resample_series(
                lake,
                entry,
                target,
                label=cast("Literal['left', 'right']", label),
                align=cast("Literal['clock', 'session']", align),
                incomplete="keep" if partial else "drop",
                replace=replace,
            )
        except KronosError as error:
            failed.append(f"failed {entry.key}: {error}")
            continue
        done.append({**vars(key), "from": entry.key.timeframe, "rows": written.rows})
    if as_json:
        say(done)
    else:
        rows = [(one["source"], one["symbol"], one["from"], one["timeframe"], one["rows"]) for one in done]
        table(("source", "symbol", "from", "to", "rows"), rows, left=4)
    meter.clear()
    for line in failed:
        click.echo(line, err=True)
    if failed:
        sys.exit(1)


@click.command()
@choice_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write; must be new or empty.")
@click.option("--lookback", default=90, type=click.IntRange(min=1), show_default=True, help="Bars that a window knows.")
@click.option(
    "--horizon", default=10, type=click.IntRange(min=1), show_default=True, help="Bars that a window predicts."
)
@click.option("--ratios", default="0.7,0.15,0.15", show_default=True, help="Shares of train, validation and test.")
@click.option("--dates", default=None, metavar="DATE,DATE", help="Validation from the first, test from the second on.")
@click.option("--common", is_flag=True, help="Cut all symbols at the same moments, lest markets leak across them.")
@click.option("--folds", default=None, type=click.IntRange(min=1), help="Walk-forward folds instead of one split.")
@click.option("--rolling", is_flag=True, help="Folds train on the block before them only, not on all before them.")
@click.option(
    "--embargo",
    default=None,
    type=click.IntRange(min=0),
    help="Bars between two parts; by default a full window, for pickles none.",
)
@click.option("--hold-out", multiple=True, help="A symbol to test on and nothing else; may be repeated.")
@click.option(
    "--format",
    "form",
    default="parquet",
    show_default=True,
    type=click.Choice(["parquet", "csv", "feather", "pack", "pickle"]),
    help="What the parts are written as; pickle is the data set of the OKX and Qlib guides.",
)
@lake_options
def split(
    source: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    out: Path,
    lookback: int,
    horizon: int,
    ratios: str,
    dates: str | None,
    common: bool,
    folds: int | None,
    rolling: bool,
    embargo: int | None,
    hold_out: tuple[str, ...],
    form: str,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Split series by time into train, validation and test, with a full window's embargo between them.

    Writes a folder a part and split.json, which says which rows went where and whether parts overlap in time across
    series.
    """
    from kronos.data import export_pickles, export_split, split_by_dates, split_by_ratio, timelines, walk_forward

    _refuse_url(out)
    lake = open_lake(place, storage)
    entries, meter = chosen(lake, source, symbols, timeframe), Meter()
    shares = _numbers(ratios, "--ratios")

    def tell(key: object) -> None:
        meter.show(f"writing {key}")

    if dates is not None and folds is not None:
        raise ConfigError("--dates and --folds are two ways to split; choose one")
    if rolling and folds is None:
        raise ConfigError("--rolling is about --folds; say how many")
    if form == "pickle":
        if dates or folds or common or hold_out:
            raise ConfigError(
                "pickles are split by --ratios of each series; leave out --dates, --folds, --common, --hold-out"
            )
        summary = export_pickles(lake, entries, out, ratios=shares, embargo=embargo or 0, tell=tell)
        meter.clear()
        if as_json:
            say(summary)
        else:
            click.echo("\n".join(f"{name}: {value}" for name, value in summary.items()))
        return
    lines: list[Timeline] = timelines(lake, list(meter.over(entries, lambda entry: f"times of {entry.key}")))
    options: dict[str, Any] = {"embargo": embargo, "hold_out": hold_out}
    if folds is not None:
        plans = walk_forward(lines, lookback, horizon, folds=folds, expanding=not rolling, common=common, **options)
        results = [
            export_split(lake, entries, plan, out / f"fold{i}", form, tell=tell) for i, plan in enumerate(plans, 1)
        ]
    else:
        plan: Split
        if dates is not None:
            cuts = [cut.strip() for cut in dates.split(",")]
            if len(cuts) != 2:
                raise ConfigError(f"--dates {dates}: expected two dates, the first of validation and the first of test")
            spans = {"train": (None, cuts[0]), "validation": (cuts[0], cuts[1]), "test": (cuts[1], None)}
            plan = split_by_dates(lines, lookback, horizon, spans, **options)
        else:
            plan = split_by_ratio(lines, lookback, horizon, ratios=shares, common=common, **options)
        results = [export_split(lake, entries, plan, out, form, tell=tell)]
    meter.clear()
    if as_json:
        say(results if folds is not None else results[0])
        return
    for number, result in enumerate(results, 1):
        if folds is not None:
            click.echo(f"fold {number}")
        _describe(result)
    click.echo(f"wrote {out}")


@click.command()
@choice_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--format",
    "form",
    default="parquet",
    show_default=True,
    type=click.Choice(["parquet", "csv", "feather", "pack", "qlib"]),
    help="A file for each series, one memory-mapped pack of all, or a Qlib folder.",
)
@lake_options
def export(
    source: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    out: Path,
    form: str,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write series as files, as a pack that is memory-mapped for training, or as a Qlib folder."""
    from kronos.data import export as export_series

    _refuse_url(out)
    lake = open_lake(place, storage)
    entries, meter = chosen(lake, source, symbols, timeframe), Meter()
    written = export_series(lake, entries, out, form, tell=lambda key: meter.show(f"writing {key}"))
    meter.clear()
    if as_json:
        say({"format": form, "written": [str(path) for path in written]})
    else:
        bars = sum(entry.rows for entry in entries)
        click.echo(f"wrote {len(entries):,} series, {bars:,} bars, as {form} to {out}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--timeframes", default=None, help="Timeframes that must be there, such as 1H,4H,1D.")
@click.option("--min-rows", default=None, type=click.IntRange(min=1), help="Fewest rows of a series in a part.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def validate(folder: Path, timeframes: str | None, min_rows: int | None, as_json: bool) -> None:
    """Check a folder of training pickles against the guide: files, timeframes, columns, rows, continuity, order.

    The pickles are read without running anything that is in them. Exit status 1 where something is wrong.
    """
    from kronos.data import validate as validate_folder

    given: dict[str, Any] = {} if min_rows is None else {"min_rows": min_rows}
    wanted = None if timeframes is None else [word.strip() for word in timeframes.split(",")]
    result = validate_folder(folder, timeframes=wanted, **given)
    if as_json:
        say(result.to_dict())
    else:
        click.echo("\n".join(result.lines()))
    if not result.ok:
        sys.exit(1)


def _refuse_url(out: Path) -> None:
    if out.parts and out.parts[0].endswith(":") and len(out.parts[0]) > 2:
        raise ConfigError(f"--out {out}: only a lake can lie at a URL; name a folder of this machine")


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{option} {text}: expected numbers separated by commas, such as 0.7,0.15,0.15") from error


def _describe(summary: dict[str, Any]) -> None:
    parts: dict[str, dict[str, Any]] = summary["parts"]
    rows: list[Sequence[object]] = [
        (name, part["series"], part["rows"], part["windows"], part["first"], part["last"])
        for name, part in parts.items()
    ]
    table(("part", "series", "rows", "windows", "first", "last"), rows)
    for overlap in summary["overlaps"]:
        if overlap["in_time"]:
            which = "the same symbol" if overlap["same_symbol"] else "different symbols"
            a, b = overlap["parts"]
            click.echo(
                f"note: {a} and {b} hold bars of the same time ({overlap['first']} to {overlap['last']}) in "
                f"{which}; --common cuts all of them at one moment"
            )
