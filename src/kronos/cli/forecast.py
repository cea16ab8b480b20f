"""`kronos forecast`: a user's file in, a table, a CSV and a picture out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from kronos.forecast.engine import Overflow


def sampling_options(command: Any) -> Any:
    """The options that every forecasting command shares."""
    for option in (
        click.option("--samples", default=100, show_default=True, help="Sample paths."),
        click.option(
            "--model", default="nano", show_default=True, help="Zoo name, folder or Hub id (`kronos models`)."
        ),
        click.option("--seed", default=0, show_default=True, help="Same seed, same forecast."),
        click.option("--device", default=None, help="cpu, cuda, mps; by default the best there is."),
        click.option(
            "--backend", default="auto", show_default=True, help="What runs the networks: auto, native, torch, onnx."
        ),
        click.option(
            "--precision",
            default="float32",
            show_default=True,
            help="What their weights are held in: float32, bfloat16, int8.",
        ),
        click.option(
            "--calibration",
            default="own",
            show_default=True,
            metavar="PLACE",
            help="A calibration's file, `own` for the one beside the weights, or `none`.",
        ),
    ):
        command = option(command)
    return command


def calibration_of(said: str) -> str | None:
    """What `kronos.load` takes for what the option says."""
    return None if said == "none" else said


def make_ready(backend: str, device: str | None) -> None:
    """Begin to build the C library, where it will be needed and is not there, while torch and the data load."""
    from kronos import compiling

    if backend in ("auto", "native") and device in (None, "cpu") and compiling.can_build():
        compiling.Build.of(Path(compiling.__file__).parent / "forecast" / "native")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--horizon", default=24, show_default=True, help="Bars to forecast.")
@sampling_options
@click.option("--out", default="forecast", show_default=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--truth", is_flag=True, help="Hold back the last HORIZON bars, forecast them, and draw both.")
@click.option(
    "--lookback", default=None, type=int, help="Read the last so many bars; by default all that fit the context."
)
@click.option(
    "--calendar", default=None, help="24/7, 24/5 or an exchange such as SSE; by default learned from the bars."
)
@click.option(
    "-T",
    "--temperature",
    "temperature",
    default=None,
    type=float,
    help="Sampling temperature (the calibration's, or 1).",
)
@click.option("--top-k", default=None, type=int, help="Keep the k likeliest tokens; 0 keeps all (0).")
@click.option(
    "--top-p",
    default=None,
    type=float,
    help="Keep the likeliest tokens up to this probability (the calibration's, or 1).",
)
@click.option("--tokenizer", default=None, help="The tokenizer's folder or Hub id, where it is not found by itself.")
@click.option("--revision", default=None, help="Revision of the model on the Hub.")
@click.option(
    "--overflow",
    default="exact",
    show_default=True,
    type=click.Choice(["exact", "slide"]),
    help="When the context is full: recompute the window, or slide the cache (faster).",
)
@click.option("--paths", is_flag=True, help="Also write every path, as forecast.npz.")
def forecast(
    file: Path,
    horizon: int,
    samples: int,
    model: str,
    seed: int,
    device: str | None,
    backend: str,
    precision: str,
    calibration: str,
    out: Path,
    truth: bool,
    lookback: int | None,
    calendar: str | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    tokenizer: str | None,
    revision: str | None,
    overflow: str,
    paths: bool,
) -> None:
    """Forecast the bars that follow those in FILE (CSV, TSV, Excel, Parquet or Feather).

    Columns open, high, low, close and a time are found under their usual names; volume and amount are optional.
    """
    make_ready(backend, device)
    import pandas as pd

    from kronos.bars import infer_timeframe
    from kronos.cli.output import check_folder, publish
    from kronos.data import read_bars
    from kronos.errors import BarsError, ConfigError
    from kronos.forecast import LEAST_BARS, load

    if horizon < 1:
        raise ConfigError(f"--horizon must be at least 1, not {horizon}")
    check_folder(out)
    bars = read_bars(file, min_rows=LEAST_BARS)
    known, held_back = bars, None
    if truth:
        if len(bars) <= horizon:
            raise BarsError(f"{file}: {len(bars)} rows are too few to hold back {horizon} of them")
        known, held_back = bars.iloc[:-horizon], bars.iloc[-horizon:]
    timeframe = infer_timeframe(pd.DatetimeIndex(bars.index))
    known.attrs["name"] = file.stem.removesuffix(f"_{timeframe}")  # the chart and the table say it anyway
    how: dict[str, Any] = {"tokenizer": tokenizer, "device": device, "revision": revision, "backend": backend}
    chosen = load(model, precision=precision, calibration=calibration_of(calibration), **how)
    result = chosen.forecast(
        known,
        horizon,
        samples=samples,
        T=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        y_timestamp=None if held_back is None else pd.DatetimeIndex(held_back.index),
        lookback=lookback,
        calendar=calendar,
        overflow=cast("Overflow", overflow),
        progress=sys.stderr.isatty(),
    )
    publish(result, out, held_back, paths)
    if why := result.meta.get("calibration_skipped"):
        click.echo(f"not calibrated: {why}", err=True)
