"""`kronos ledger add`: a saved forecast, or one that is made here, written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kronos.cli.contestants import find_forecaster, is_baseline
from kronos.cli.forecast import calibration_of, make_ready, sampling_options
from kronos.cli.lake_options import chosen, default_lake, open_lake, say
from kronos.cli.ledger_options import ledger_options, open_ledger
from kronos.errors import ConfigError, SourceError

if TYPE_CHECKING:
    import pandas as pd

    from kronos.bars import Forecast, Forecaster
    from kronos.evaluate.ledger.ledger import Added

_SAVED = (".npz", ".parquet")


@dataclass(frozen=True)
class _Job:
    """One series to be forecast."""

    frame: "pd.DataFrame"
    symbol: str
    market: str
    calendar: str | None


@dataclass(frozen=True)
class _Made:
    """A forecast, and what the ledger is to know beside what it says of itself."""

    forecast: "Forecast"
    symbol: str
    market: str
    who: dict[str, str]


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--symbol", "symbols", multiple=True, help="The symbol of FILE; of a lake the series, may be repeated.")
@click.option("--timeframe", default=None, help="Of a lake only series of this timeframe.")
@click.option("--source", default=None, help="Of a lake only series of this source.")
@click.option("--lake", "lake_place", default=None, help="Without FILE: the lake (folder or URL) to forecast from.")
@click.option("--storage", multiple=True, metavar="KEY=VALUE", help="An option of the lake's URL.")
@click.option("--market", default=None, help="crypto, us, cn, ...; by default from the file's name or the lake.")
@click.option("--horizon", default=24, show_default=True, help="Bars to forecast.")
@sampling_options
@click.option("--lookback", default=None, type=int, help="Read the last so many bars; by default all that fit.")
@click.option(
    "--calendar", default=None, help="24/7, 24/5 or an exchange such as SSE; by default the lake's, or learned."
)
@click.option("--temperature", default=None, type=float, help="Sampling temperature of a network.")
@click.option("--top-k", default=None, type=int, help="A network's k likeliest tokens only.")
@click.option("--top-p", default=None, type=float, help="A network's likeliest tokens up to this probability only.")
@click.option("--tokenizer", default=None, help="The tokenizer's folder or Hub id, where it is not found by itself.")
@click.option("--revision", default=None, help="Revision of the model on the Hub; of a saved forecast what to note.")
@click.option("--zone", default=None, help="The time zone of time stamps without one; by default UTC is assumed.")
@click.option("--until", default=None, help="Forecast from the bars up to this time, for trying things out.")
@click.option("--backfill", is_flag=True, help="Accept a forecast whose first bar is over, and mark it.")
@ledger_options
def add(file: Path | None, place: str, as_json: bool, zone: str | None, backfill: bool, **options: Any) -> None:
    """Write down a forecast: FILE is one that was saved (.npz), or bars that one is made from.

    Without FILE every series of a lake that --symbol, --timeframe and --source choose is forecast. The same forecast
    again is the same row.
    """
    if options["horizon"] < 1:
        raise ConfigError(f"--horizon must be at least 1, not {options['horizon']}")
    saved = None if file is None else _load(file)
    made = _make(file, options) if saved is None else [_noted(saved, options)]
    book = open_ledger(place, create=True)
    results = []
    for one in made:
        added = book.add(one.forecast, symbol=one.symbol, market=one.market, zone=zone, backfill=backfill, **one.who)
        results.append({**vars(added), "symbol": one.symbol, "timeframe": one.forecast.timeframe})
        if not as_json:
            _tell(one, added, book.place)
    if as_json:
        say({"ledger": book.place, "added": results})


def _noted(saved: "Forecast", options: dict[str, Any]) -> "_Made":
    """A saved forecast with what the options say of it."""
    symbol = options["symbols"][0] if options["symbols"] else saved.name
    return _Made(saved, symbol, options["market"] or "", _given(revision=options["revision"]))


def _load(file: Path) -> "Forecast | None":
    """The forecast in a file; None where it holds bars."""
    from kronos.bars import Forecast

    if file.suffix.lower() not in _SAVED:
        return None
    try:
        return Forecast.load(file)
    except SourceError:
        if file.suffix.lower() == ".npz":  # which bars never come in
            raise
        return None


def _make(file: Path | None, options: dict[str, Any]) -> list["_Made"]:
    """Forecast a file, or series of a lake, all together."""
    model = options["model"]
    sampler = {"T": options["temperature"], "top_k": options["top_k"], "top_p": options["top_p"]}
    own = {name: options[name] for name in ("tokenizer", "revision")}
    calibration = options["calibration"]
    if is_baseline(model):
        given = [name for name, value in {**sampler, **own}.items() if value is not None]
        given += ["calibration"] * (calibration not in ("own", "none"))
        if given:
            raise ConfigError(f"--model {model}: a baseline has no {', '.join(given)}")
        forecaster = find_forecaster(model)
    else:
        make_ready(options["backend"], options["device"])
        loading = {name: options[name] for name in ("device", "backend", "precision")}
        forecaster = find_forecaster(model, **loading, **_given(**own), calibration=calibration_of(calibration))
        sampler["lookback"] = options["lookback"]
    jobs = _jobs(file, options)
    forecasts = _ask(forecaster, jobs, options, _given(**sampler))
    who = _given(weights=weights_of(forecaster), revision=options["revision"])
    return [_Made(made, job.symbol, job.market, who) for job, made in zip(jobs, forecasts, strict=True)]


def _ask(
    forecaster: "Forecaster", jobs: Sequence[_Job], options: dict[str, Any], more: dict[str, Any]
) -> "list[Forecast]":
    import pandas as pd

    from kronos.bars import next_times

    longest = options["lookback"] or max(len(job.frame) for job in jobs)
    frames = [job.frame.iloc[-longest:] for job in jobs]
    times = [next_times(pd.DatetimeIndex(job.frame.index), options["horizon"], calendar=job.calendar) for job in jobs]
    ask: Any = forecaster.forecast  # options beyond the protocol's are a network's
    asked = {"samples": options["samples"], "seed": options["seed"], "y_timestamp": times}
    made: list[Forecast] = ask(frames, options["horizon"], **asked, **more)
    return made


def _jobs(file: Path | None, options: dict[str, Any]) -> list[_Job]:
    if file is not None:
        return [_cut(_from_file(file, options), options["until"])]
    if not options["symbols"]:
        raise ConfigError("name a FILE, or --symbol (and --timeframe) of series in the lake")
    lake = open_lake(options["lake_place"] or default_lake(), options["storage"])
    entries = chosen(lake, options["source"], options["symbols"], options["timeframe"])
    jobs = [
        _Job(
            lake.read(entry.key),
            entry.key.asset,
            options["market"] or entry.market or entry.key.source,
            options["calendar"] or entry.calendar,
        )
        for entry in entries
    ]
    return [_cut(job, options["until"]) for job in jobs]


def _from_file(file: Path, options: dict[str, Any]) -> _Job:
    from kronos.data import read_bars
    from kronos.data.files.naming import name_of
    from kronos.data.sets.series import symbol_of

    named = name_of(file, file.parent)
    symbols = options["symbols"] or (named.symbol or symbol_of(file.stem),)
    if len(symbols) > 1:
        raise ConfigError(f"--symbol: {file} holds one series, and has one symbol")
    frame = read_bars(file, volume_rule="fill")  # as they are read when outcomes are looked for
    return _Job(frame, symbols[0], options["market"] or named.market or "", options["calendar"])


def _cut(job: _Job, until: str | None) -> _Job:
    import pandas as pd

    if until is None:
        return job
    try:
        moment = pd.Timestamp(until)
    except ValueError as error:
        raise ConfigError(f"--until {until!r} is no time; write 2025-07-01T12:00") from error
    zone = pd.DatetimeIndex(job.frame.index).tz
    if zone is not None:
        moment = moment.tz_localize(zone) if moment.tz is None else moment.tz_convert(zone)
    kept = job.frame[job.frame.index <= moment]
    if kept.empty:
        raise ConfigError(f"--until {until}: {job.symbol} begins after it, at {job.frame.index[0]}")
    return _Job(kept, job.symbol, job.market, job.calendar)


def weights_of(forecaster: Any) -> str:
    """A digest of a network's weights and its tokenizer's, of an ensemble all of them; empty where there are none."""
    members = getattr(forecaster, "members", None)
    if members:
        return "+".join(filter(None, map(weights_of, members)))
    pair = [getattr(forecaster, name, None) for name in ("model", "tokenizer")]
    if all(hasattr(one, "fingerprint") for one in pair):
        return "/".join(one.fingerprint() for one in pair if one is not None)
    inner = getattr(forecaster, "forecaster", None)
    return "" if inner is None else weights_of(inner)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value not in (None, "")}


def _tell(one: "_Made", added: "Added", place: str) -> None:
    marks = f" ({', '.join(added.marks)})" if added.marks else ""
    done = f"is number {added.number:,} of {place}" if added.new else f"was in {place} before"
    forecast = one.forecast
    click.echo(
        f"{added.id[:12]} {done}{marks}: {one.symbol} {forecast.timeframe}, {forecast.samples} paths x "
        f"{forecast.horizon} bars from {forecast.timestamps[0]:%Y-%m-%d %H:%M} by {forecast.meta.get('model')}, "
        f"P(up) {float(forecast.prob_up().iloc[-1]):.2f}; {added.bytes:,} bytes"
    )
