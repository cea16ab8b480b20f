"""`kronos data fetch`, `import` and `update`: bars into the lake."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from kronos.cli.lake_options import Meter, choice_options, chosen, lake_options, open_lake, say
from kronos.errors import ConfigError, KronosError

if TYPE_CHECKING:
    import pandas as pd

    from kronos.data import Failed, Fetched, Key, Source
    from kronos.data.lake.lake import Conflict


@click.command("import")
@click.argument("place_of_files", metavar="PLACE", type=click.Path(path_type=Path))
@click.option("--source", default=None, help="What the lake calls the source; by default files, qlib or binance.")
@click.option("--symbol", default=None, help="The symbol, where the file's name or columns do not say it.")
@click.option("--timeframe", default=None, help="The timeframe; by default from the file's name or the times.")
@click.option("--market", default=None, help="crypto, us, cn, fx, ...; by default from the file's name or its folder.")
@click.option("--calendar", default=None, help="24/7, 24/5 or an exchange such as SSE, for checks and forecasts.")
@click.option("--zone", default=None, help="The time zone of times that come without one, such as Asia/Shanghai.")
@click.option("--repair", is_flag=True, help="Mend or leave out what is no candle, instead of refusing its file.")
@click.option(
    "--conflict",
    default="keep",
    show_default=True,
    type=click.Choice(["keep", "replace", "refuse"]),
    help="What becomes of a stored bar that comes again with other values.",
)
@lake_options
def import_(
    place_of_files: Path,
    source: str | None,
    symbol: str | None,
    timeframe: str | None,
    market: str | None,
    calendar: str | None,
    zone: str | None,
    repair: bool,
    conflict: str,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Import bars from PLACE: a file, a folder, a Qlib folder, Binance archive zips, a pickle, or another lake.

    Symbol, timeframe and market are read from names such as crypto_BTC_1h.parquet, and a symbol column makes one series
    a symbol. One file that is refused does not stop the others; the exit status is then 1.
    """
    from kronos.data import Imported, ImportOptions, Refused, Skipped, import_bars

    options = ImportOptions(source, symbol, timeframe, market, calendar, zone, repair, cast("Conflict", conflict))
    if not place_of_files.exists():
        raise ConfigError(f"{place_of_files}: no such file or folder")
    lake = open_lake(place, storage, create=True)
    done: list[Imported] = []
    others: dict[type, list[Refused | Skipped]] = {Refused: [], Skipped: []}
    meter, began = Meter(), time.monotonic()
    for one in import_bars(lake, place_of_files, options):
        if isinstance(one, Imported):
            done.append(one)
            meter.show(f"{len(done):,} series, {sum(i.written.added for i in done):,} bars, {one.key}")
            if not as_json and (one.notes or one.written.kept):
                meter.clear()
                click.echo(f"{one.key}: {_noted(one.notes, one.written.kept)}")
            continue
        meter.clear()
        others[type(one)].append(one)
        click.echo(f"{'refused' if isinstance(one, Refused) else 'no bars in'} {one.place}: {one.reason}", err=True)
    meter.clear()
    if as_json:
        say(
            {
                "lake": lake.place,
                "imported": [
                    {**vars(one.key), "place": one.place, **vars(one.written), "notes": one.notes} for one in done
                ],
                "refused": [vars(one) for one in others[Refused]],
                "skipped": [vars(one) for one in others[Skipped]],
            }
        )
    else:
        added, series = sum(one.written.added for one in done), len({one.key for one in done})
        seconds = time.monotonic() - began
        click.echo(
            f"{series:,} series, {added:,} new bars in {lake.place} ({seconds:.1f} s); {len(others[Refused])} refused"
        )
    if others[Refused]:
        sys.exit(1)


@click.command()
@click.argument("source", required=False)
@click.argument("symbols", required=False)
@click.argument("timeframes", required=False)
@click.option("--since", default=None, help="First bar, such as 2023-01-01; by default the first there is.")
@click.option("--until", default=None, help="Bars before this time; by default the last finished one.")
@click.option("--bars", default=None, type=click.IntRange(min=1), help="The last so many bars.")
@click.option("--base-url", default=None, help="Ask this address instead of the source's own.")
@lake_options
def fetch(
    source: str | None,
    symbols: str | None,
    timeframes: str | None,
    since: str | None,
    until: str | None,
    bars: int | None,
    base_url: str | None,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fetch bars from SOURCE, such as `fetch binance BTC/USDT,ETH/USDT 1h,1d --since 2023-01-01`.

    SOURCE is binance, binance-usdm, okx, ccxt:NAME, yfinance, akshare or baostock. What is there is not fetched again;
    the same command goes on where it was interrupted, and brings the newest bars tomorrow. Asked without arguments on a
    terminal, it asks back.
    """
    from kronos.data import fetch as fetch_series
    from kronos.data import make_source

    source = source or _ask("Source", "binance")
    symbols = symbols or _ask("Symbols", "BTC/USDT")
    timeframes = timeframes or _ask("Timeframes", "1h")
    chosen_source = make_source(source, base_url=base_url)
    lake = open_lake(place, storage, create=True)
    pairs = [(symbol, timeframe) for symbol in _words(symbols) for timeframe in _words(timeframes)]

    def one(symbol: str, timeframe: str, progress: Callable[..., None]) -> "Fetched":
        return fetch_series(
            lake, chosen_source, symbol, timeframe, start=since, end=until, bars=bars, progress=progress
        )

    meter, done, failed = Meter(), [], []
    for symbol, timeframe in pairs:
        name = f"{chosen_source.name} {symbol} {timeframe}"
        try:
            result = one(symbol, timeframe, _progress(meter, name))
        except KronosError as error:
            if len(pairs) == 1:
                meter.clear()
                raise
            failed.append((name, str(error)))
            continue
        meter.clear()
        done.append(result)
        if not as_json:
            click.echo(_fetched(result))
    _finish(done, failed, as_json, lake.place)


@click.command()
@choice_options
@click.option("--base-url", default=None, help="Ask this address instead of the source's own.")
@lake_options
def update(
    source: str | None,
    symbols: tuple[str, ...],
    timeframe: str | None,
    base_url: str | None,
    place: str,
    storage: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fetch the newest bars of every series that came from a source over the network.

    The last stored bars are asked for again, and replaced where the source has revised them. One series that fails does
    not stop the others; the exit status is then 1.
    """
    from kronos.data import Fetched, known_source, make_source
    from kronos.data import update as update_series

    lake = open_lake(place, storage)
    entries = [
        entry
        for entry in chosen(lake, source, symbols, timeframe)
        if known_source(entry.key.source) and entry.made_by("fetch", "import")  # not what was made of those
    ]
    if not entries:
        raise ConfigError(
            f"{lake.place}: no series came from a source that can be asked; import its files again instead"
        )
    meter = Meter()

    def make(name: str) -> "Source":
        return make_source(name, base_url=base_url)

    def progress(key: "Key", share: float | None, bars: int, reached: "pd.Timestamp") -> None:
        meter.show(_line(str(key), share, bars, reached))

    done, failed = [], []
    for result in update_series(lake, entries, make, progress=progress):
        meter.clear()
        if isinstance(result, Fetched):
            done.append(result)
            if not as_json:
                click.echo(_fetched(result))
        else:
            failed.append((str(result.key), _reason(result)))
    meter.clear()
    _finish(done, failed, as_json, lake.place)


def _reason(failure: "Failed") -> str:
    return str(failure.error)


def _finish(done: list["Fetched"], failed: list[tuple[str, str]], as_json: bool, place: str) -> None:
    """Say what became of all series; exit status 1 where one failed."""
    for name, reason in failed:
        click.echo(f"failed {name}: {reason}", err=True)
    if as_json:
        fetched = [
            {**vars(one.key), "added": one.added, "revised": one.revised, "rows": one.rows, "first": one.first,
             "last": one.last}
            for one in done
        ]  # fmt: skip
        say({"lake": place, "fetched": fetched, "failed": [{"series": n, "reason": r} for n, r in failed]})
    if failed:
        sys.exit(1)


def _fetched(result: "Fetched") -> str:
    revised = f", {result.revised:,} revised" if result.revised else ""
    news = "up to date" if result.up_to_date else f"{result.added:,} new bars{revised}"
    return f"{result.key}: {news}; {result.rows:,} from {result.first:%Y-%m-%d %H:%M} to {result.last:%Y-%m-%d %H:%M}"


def _progress(meter: Meter, name: str) -> Callable[[float | None, int, "pd.Timestamp"], None]:
    return lambda share, bars, reached: meter.show(_line(name, share, bars, reached))


def _line(name: str, share: float | None, bars: int, reached: "pd.Timestamp") -> str:
    drawn = "" if share is None else f"[{'#' * int(24 * share):<24}] {100 * share:3.0f} % "
    return f"{name} {drawn}{bars:,} bars, to {reached:%Y-%m-%d %H:%M}"


def _ask(what: str, example: str) -> str:
    """Ask on a terminal; elsewhere a missing argument is an error."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"missing argument: {what.lower()} (such as {example})")
    return str(click.prompt(what, default=example, err=True))


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise ConfigError(f"{text!r} names nothing; separate several by commas")
    return words


def _noted(notes: Any, kept: int) -> str:
    parts = [f"{name.replace('_', ' ')} {count:,}" for name, count in notes.items()]
    return ", ".join(parts + ([f"stored with other values and kept {kept:,}"] if kept else []))
