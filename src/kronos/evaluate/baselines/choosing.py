"""Baselines by name."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches

from kronos.bars import Forecaster
from kronos.errors import ConfigError
from kronos.evaluate.baselines.base import Baseline
from kronos.evaluate.baselines.bootstrap import BlockBootstrap
from kronos.evaluate.baselines.chronos import PREFIX, Chronos
from kronos.evaluate.baselines.classical import AutoArima, Ets
from kronos.evaluate.baselines.garch import FilteredHistorical, GarchT
from kronos.evaluate.baselines.gaussian import Drift, Ewma, HistoricalVolatility
from kronos.evaluate.baselines.seasonal import SeasonalVolatility

BASELINES: Mapping[str, str] = {
    "hv20": "the last value, Gaussian steps with the volatility of the last 20 bars",
    "ewma": "the last value, Gaussian steps with exponentially weighted volatility (.94)",
    "drift": "Gaussian steps with the look-back's mean return and deviation",
    "seasonal": "ewma times the volatility of the hour, the time of day and the weekday",
    "bootstrap": "blocks of the look-back's own returns, centred",
    "garch": "GARCH(1,1) with Student-t innovations by maximum likelihood, no drift",
    "fhs": "filtered historical simulation: the same fit, its residuals drawn again, no drift",
    "arima": "ARIMA of the log close, chosen by AICc (needs the extra 'classical')",
    "ets": "exponential smoothing of the log close, chosen by AICc (needs the extra 'classical')",
}
"""What can be named, in a line each; beside these `chronos:FOLDER_OR_ID` is the rival whose weights lie there."""

_MAKERS: Mapping[str, Callable[[], Baseline]] = {
    "hv20": HistoricalVolatility,
    "ewma": Ewma,
    "drift": Drift,
    "seasonal": SeasonalVolatility,
    "bootstrap": BlockBootstrap,
    "garch": GarchT,
    "fhs": FilteredHistorical,
    "arima": AutoArima,
    "ets": Ets,
}


def make_baseline(name: str) -> Forecaster:
    """The baseline of this name; nothing is loaded or fitted before its first forecast."""
    if name.startswith(PREFIX):
        return Chronos(name.removeprefix(PREFIX))
    if name not in _MAKERS:
        near = get_close_matches(name, [*BASELINES, PREFIX], n=1)
        meant = f"; is '{near[0]}' meant?" if near else ""
        raise ConfigError(f"there is no baseline '{name}'{meant} (known: {', '.join(BASELINES)}, {PREFIX}PLACE)")
    return _MAKERS[name]()
