"""What the forecasting commands print and write."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kronos.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from kronos.bars import Forecast

_ALL_ROWS = 24  # a longer horizon is shown at these steps and its last
_STEPS = (1, 2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 72, 96, 120, 168, 240, 360, 480)


def publish(forecast: "Forecast", folder: Path, truth: "pd.DataFrame | None" = None, paths: bool = False) -> None:
    """Print the table, write forecast.csv and forecast.png (and forecast.npz with all paths), say where."""
    from kronos.writing import replacing

    folder.mkdir(parents=True, exist_ok=True)
    table = forecast.to_frame(quantiles=(0.05, 0.25, 0.5, 0.75, 0.95))
    written = [folder / "forecast.csv", folder / "forecast.png"]
    with replacing(written[0]) as path:
        table.to_csv(path)
    forecast.plot(written[1], truth=truth)
    if paths:
        written.append(forecast.save(folder / "forecast.npz"))
    click.echo(describe(forecast))
    click.echo(tabulate(forecast, table, truth))
    click.echo("wrote " + ", ".join(str(path) for path in written))


def check_folder(folder: Path) -> None:
    """Refuse, before any work is done, a folder that cannot be one."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder}: this is a file; name a folder")


def describe(forecast: "Forecast") -> str:
    """One line on what was forecast, from what, by what."""
    meta = forecast.meta
    mended = f", {forecast.repaired:,} candles mended" if forecast.repaired else ""
    calibrated = f", calibrated ({meta['calibration']})" if meta.get("calibration") else ""
    return (
        f"{forecast.name}: {forecast.horizon} x {forecast.timeframe} from {forecast.timestamps[0]:%Y-%m-%d %H:%M}, "
        f"{forecast.samples} paths by {meta.get('model')} from {meta.get('lookback')} bars{mended}{calibrated}; "
        f"calendar {meta.get('calendar')}; last close {price(forecast.last_close)}"
    )


def tabulate(forecast: "Forecast", table: "pd.DataFrame", truth: "pd.DataFrame | None") -> str:
    """The table of horizons: median, 5 to 95 %, probability of closing higher, and the truth where it is known."""
    heads = ["step", "time", "median", "5 %", "95 %", "P(up)"] + (["truth"] if truth is not None else [])
    rows = [heads]
    for step in range(1, forecast.horizon + 1):
        if forecast.horizon > _ALL_ROWS and step not in _STEPS and step != forecast.horizon:
            continue
        row = table.iloc[step - 1]
        cells = [str(step), f"{forecast.timestamps[step - 1]:%Y-%m-%d %H:%M}"]
        cells += [price(row[f"close_q{q}"]) for q in ("50", "05", "95")] + [f"{row['prob_up']:.2f}"]
        if truth is not None:
            cells.append(price(truth["close"].iloc[step - 1]))
        rows.append(cells)
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def price(value: Any) -> str:
    """Six significant digits without an exponent."""
    number = float(value)
    digits = max(0, 5 - len(str(int(abs(number)))) + 1) if abs(number) >= 1 else 8
    return f"{number:,.{digits}f}"
