"""`kronos evaluate periods` and `kronos evaluate drift`: performance by market regime, and lean against the trend."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kronos.errors import ConfigError

if TYPE_CHECKING:
    from kronos.bars import Forecaster


def _shared(command: Any) -> Any:
    """Options of both commands."""
    options = (
        click.option("--models", default="nano,hv20", show_default=True, metavar="A,B", help="Models and baselines."),
        click.option("--symbol", "symbols", multiple=True, metavar="NAME", help="Only this symbol; may be repeated."),
        click.option("--timeframe", "timeframes", multiple=True, metavar="NAME", help="Only these bars, as 1h."),
        click.option("--since", default=None, metavar="TIME", help="Leave out what was to be predicted before this."),
        click.option("--until", default=None, metavar="TIME", help="Leave out this moment and what follows."),
        click.option("--samples", default=None, type=click.IntRange(min=2), help="Sample paths of each forecast."),
        click.option("--seed", default=None, type=int, help="Same seed, same forecasts (0)."),
        click.option("--config", default=None, type=click.Path(path_type=Path), help="Settings as YAML or TOML."),
        click.option("--device", default=None, metavar="NAME", help="cpu, cuda or mps; by default the best there is."),
        click.option(
            "--calibration", default=None, metavar="PLACE", help="A calibration's file for networks, `own` or `none`."
        ),
        click.option("--json", "as_json", is_flag=True, help="The figures as JSON instead of text."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("place")
@_shared
@click.option("--every", default=None, type=click.Choice(["week", "month", "quarter", "year"]), help="Periods (month).")
@click.option(
    "--period", "spans", multiple=True, metavar="NAME=SINCE..UNTIL", help="A span instead of those; may be repeated."
)
@click.option("--bars", default=None, type=int, help="Bars of a window, history and forecast together (600).")
@click.option("--share", default=None, type=float, help="Share of them that is history (0.8).")
@click.option("--windows", default=None, type=int, help="Windows in each period (1).")
@click.option(
    "--history", default=None, type=click.Choice(["inside", "before"]), help="Where history may begin (inside)."
)
@click.option("--read", default=None, type=click.IntRange(min=8), help="Bars of history that networks read at most.")
@click.option(
    "--overflow", default=None, type=click.Choice(["exact", "slide"]), help="What networks do past their context."
)
@click.option("--no-pictures", is_flag=True, help="Draw the summary only, and no chart of each period.")
@click.option("--out", default=Path("periods"), show_default=True, type=click.Path(path_type=Path), help="Folder.")
def periods(
    place: str,
    models: str,
    symbols: tuple[str, ...],
    timeframes: tuple[str, ...],
    config: Path | None,
    device: str | None,
    calibration: str | None,
    as_json: bool,
    spans: tuple[str, ...],
    read: int | None,
    overflow: str | None,
    no_pictures: bool,
    out: Path,
    **settings: Any,
) -> None:
    """Judge models by market period: each month's last bars are forecast from those before them.

    PLACE is a file, folder, lake or pack of bars. A table by period, a chart of each, and how performance varies with
    the market's regime are printed and written.
    """
    from kronos.cli.console import Console
    from kronos.cli.output import check_folder
    from kronos.evaluate.protocols.periods import PeriodsTask, usable_series
    from kronos.evaluate.protocols.periods_report import PICTURES, Album, report_text, write_periods
    from kronos.evaluate.protocols.periods_run import run_periods

    given = {**settings, "periods": [_span(text) for text in spans]}
    task = PeriodsTask.read(config, _as_overrides(given))
    task.check()
    check_folder(out)
    console = Console()
    series, left_out = usable_series(place, symbols or None, timeframes or None)
    bound = {"lookback": read, "overflow": overflow}
    asked = {key: value for key, value in bound.items() if value is not None}
    forecasters = find_all(models, _making(device, calibration), asked)
    album = Album(out / PICTURES)
    results = run_periods(task, series, forecasters, say=console.say, show=None if no_pictures else album)
    results = _with_left_out(results, left_out)
    tree = write_periods(results, out, album.pictures)
    click.echo(json.dumps(tree, indent=1, ensure_ascii=False) if as_json else report_text(results))
    console.say(f"wrote {out / 'report.html'}, report.md, periods.json, periods.csv, windows.csv and pictures")


@click.command()
@click.option("--data", "places", required=True, multiple=True, metavar="PLACE", help="Bars; may be repeated.")
@_shared
@click.option("--lookbacks", default=None, metavar="A,B", help="Look-backs to compare (64,128,256,400).")
@click.option("--horizon", default=None, type=int, help="Bars to forecast (24).")
@click.option("--steps", default=None, metavar="A,B", help="Steps whose drift is measured (1,6,24).")
@click.option("--trends", default=None, metavar="A,B", help="Bars whose return is the recent trend (5,20,100).")
@click.option("--origins", default=None, type=int, help="Windows, spread over series and time (200).")
@click.option("--out", default=Path("drift"), show_default=True, type=click.Path(path_type=Path), help="Folder.")
def drift(
    places: tuple[str, ...],
    models: str,
    symbols: tuple[str, ...],
    timeframes: tuple[str, ...],
    config: Path | None,
    device: str | None,
    calibration: str | None,
    as_json: bool,
    out: Path,
    **settings: Any,
) -> None:
    """Measure which way forecasts lean: their drift by look-back length and recent trend, beside the market's own.

    A model that leans against the trend more than the market did is biased towards the mean. The slopes, a verdict and
    pictures are printed and written.
    """
    from kronos.cli.console import Console
    from kronos.cli.output import check_folder
    from kronos.evaluate.protocols.drift import DriftTask
    from kronos.evaluate.protocols.drift_report import report_text, write_drift
    from kronos.evaluate.protocols.drift_run import run_drift
    from kronos.evaluate.protocols.periods import usable_series

    lists = {key: _numbers(settings.pop(key), f"--{key}") for key in ("lookbacks", "steps", "trends")}
    task = DriftTask.read(config, _as_overrides({**settings, **lists}))
    task.check()
    check_folder(out)
    console = Console()
    found = [usable_series(place, symbols or None, timeframes or None) for place in places]
    series = [one for some, _ in found for one in some]
    left_out = {name: reason for _, names in found for name, reason in names.items()}
    results = run_drift(
        task, series, find_all(models, _making(device, calibration)), left_out=left_out, say=console.say
    )
    tree = write_drift(results, out)
    click.echo(json.dumps(tree, indent=1, ensure_ascii=False) if as_json else report_text(results))
    console.say(f"wrote {out / 'report.html'}, report.md, drift.json, slopes.csv, drifts.csv and pictures")


def find_all(models: str, making: Mapping[str, Any], asked: Mapping[str, Any] | None = None) -> "dict[str, Forecaster]":
    """The forecasters that a list of names means: networks are made with `making` and asked with `asked` each time."""
    from kronos.cli.contestants import find_forecaster, is_baseline

    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise ConfigError("--models names nobody; try nano,hv20")
    if len(set(names)) < len(names):
        raise ConfigError(f"--models {models}: a name is given twice")
    found: dict[str, Forecaster] = {}
    for name in names:
        if is_baseline(name):
            found[name] = find_forecaster(name)
        else:
            network = find_forecaster(name, **making)
            found[name] = Asked(network, asked) if asked else network
    return found


class Asked:
    """A network that is asked with options of its own each time; to whoever judges it, a forecaster like any other."""

    def __init__(self, model: "Forecaster", options: Mapping[str, Any]) -> None:
        """Pass `options` to every call of the model's `forecast`."""
        self._model, self._options = model, dict(options)

    @property
    def name(self) -> str:
        """The network's own."""
        return self._model.name

    def forecast(self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: Any = None) -> Any:
        """What the network says."""
        ask: Any = self._model.forecast  # options beyond the protocol's
        return ask(data, horizon, samples=samples, seed=seed, y_timestamp=y_timestamp, **self._options)


def _making(device: str | None, calibration: str | None) -> dict[str, Any]:
    """How networks are loaded."""
    found: dict[str, Any] = {"device": device}
    if calibration is not None:
        found["calibration"] = None if calibration == "none" else calibration
    return found


def _span(text: str) -> dict[str, str]:
    name, equals, rest = text.partition("=")
    since, dots, until = rest.partition("..")
    if not equals or not dots or not name.strip():
        raise ConfigError(f"--period {text!r}: write it as NAME=SINCE..UNTIL, as in may=2025-05-01..2025-06-01")
    return {"name": name.strip(), "since": since.strip(), "until": until.strip()}


def _numbers(text: str | None, option: str) -> Sequence[int]:
    if text is None:
        return []
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} {text}: write whole numbers with commas between them") from None


def _as_overrides(given: Mapping[str, Any]) -> list[str]:
    """What was given by options of their own, as settings; lists become YAML."""
    return [
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value not in (None, [], ())
    ]


def _with_left_out(results: Any, left_out: Mapping[str, str]) -> Any:
    from dataclasses import replace

    return replace(results, left_out={**left_out, **results.left_out})
