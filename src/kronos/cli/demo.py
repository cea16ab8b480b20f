"""`kronos demo`: the whole product in one command, on bars that the package makes itself."""

import sys
from pathlib import Path

import click

from kronos.cli.forecast import calibration_of, make_ready, sampling_options

_HISTORY = 400
_HORIZON = 24


@click.command()
@sampling_options
@click.option("--out", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder to write.")
def demo(
    samples: int, model: str, seed: int, device: str | None, backend: str, precision: str, calibration: str, out: Path
) -> None:
    """Forecast 24 hours of a simulated market with the embedded model.

    Writes sample.csv, forecast.csv and forecast.png, and shows what really came beside the forecast.
    """
    make_ready(backend, device)
    from kronos.cli.output import check_folder, publish
    from kronos.forecast import load
    from kronos.synth import sample_bars
    from kronos.writing import replacing

    check_folder(out)
    bars = sample_bars("crypto", rows=_HISTORY + _HORIZON)
    known, truth = bars.iloc[:_HISTORY], bars.iloc[_HISTORY:]
    known.attrs["name"] = "simulated market"
    chosen = load(model, device=device, backend=backend, precision=precision, calibration=calibration_of(calibration))
    result = chosen.forecast(known, _HORIZON, samples=samples, seed=seed, progress=sys.stderr.isatty())
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "sample.csv") as path:
        bars.to_csv(path)
    publish(result, out, truth)
    click.echo(f"these bars are in {out / 'sample.csv'}; with your own: kronos forecast YOUR.csv --horizon {_HORIZON}")
