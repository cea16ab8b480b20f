"""What a candle is, and what a forecast of candles is. No network, no torch; the only files are of forecasts."""

from kronos.bars.calendar import calendar_of, next_times
from kronos.bars.candles import COLUMNS, invalid, repair
from kronos.bars.features import STAMP_FIELDS, time_stamps
from kronos.bars.forecast import Forecast, Forecaster
from kronos.bars.frame import canonical
from kronos.bars.normaliser import KINDS, Normaliser, fit_normaliser
from kronos.bars.stamps import parse_times
from kronos.bars.timeframe import Timeframe, infer_timeframe, resample

__all__ = [
    "COLUMNS",
    "KINDS",
    "STAMP_FIELDS",
    "Forecast",
    "Forecaster",
    "Normaliser",
    "Timeframe",
    "calendar_of",
    "canonical",
    "fit_normaliser",
    "infer_timeframe",
    "invalid",
    "next_times",
    "parse_times",
    "repair",
    "resample",
    "time_stamps",
]
