"""Kronos: candlestick bars as a language, and forecasts as distributions of future candles.

    import kronos
    model = kronos.load("nano")
    fc = model.forecast(df, horizon=24, samples=100, seed=7)

Names are imported when first used (PEP 562), so that `import kronos` loads neither torch nor pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kronos.bars import Forecast, Forecaster
    from kronos.errors import (
        BarsError,
        CheckpointError,
        ConfigError,
        KronosError,
        KronosWarning,
        MissingExtra,
        SourceError,
        TokenError,
    )
    from kronos.forecast import KronosPredictor, load
    from kronos.model import Kronos, KronosTokenizer
    from kronos.synth import sample_bars

__version__ = "0.1.0"

_ROOMS = {
    "BarsError": "errors",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "Forecast": "bars",
    "Forecaster": "bars",
    "Kronos": "model",
    "KronosError": "errors",
    "KronosPredictor": "forecast",
    "KronosTokenizer": "model",
    "KronosWarning": "errors",
    "MissingExtra": "errors",
    "SourceError": "errors",
    "TokenError": "errors",
    "load": "forecast",
    "sample_bars": "synth",
}

__all__ = [
    "BarsError",
    "CheckpointError",
    "ConfigError",
    "Forecast",
    "Forecaster",
    "Kronos",
    "KronosError",
    "KronosPredictor",
    "KronosTokenizer",
    "KronosWarning",
    "MissingExtra",
    "SourceError",
    "TokenError",
    "load",
    "sample_bars",
]


def __getattr__(name: str) -> Any:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'kronos' has no attribute '{name}'")
    value = getattr(import_module(f"kronos.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
