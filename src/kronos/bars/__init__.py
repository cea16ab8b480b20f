"""What a candle is, and what a forecast of candles is. No network, no torch; the only files are of forecasts."""

from kronos.bars.calendar import calendar_of, check_calendar, next_times, zone_of_calendar
from kronos.bars.candles import COLUMNS, invalid, repair
from kronos.bars.features import STAMP_FIELDS, time_stamps
from kronos.bars.forecast import Forecast, Forecaster
from kronos.bars.frame import canonical, loose
from kronos.bars.normaliser import KINDS, Normaliser, fit_normaliser
from kronos.bars.quality.cleaning import Cleaned, Segment, clean, segments
from kronos.bars.quality.findings import Finding
from kronos.bars.quality.gaps import Gap, gaps
from kronos.bars.quality.health import Health, health
from kronos.bars.quality.inspection import Inspection, inspect
from kronos.bars.quality.limits import Limits, limits_for
from kronos.bars.stamps import parse_times
from kronos.bars.timeframe import Timeframe, infer_timeframe, resample

__all__ = [
    "COLUMNS",
    "KINDS",
    "STAMP_FIELDS",
    "Cleaned",
    "Finding",
    "Forecast",
    "Forecaster",
    "Gap",
    "Health",
    "Inspection",
    "Limits",
    "Normaliser",
    "Segment",
    "Timeframe",
    "calendar_of",
    "canonical",
    "check_calendar",
    "clean",
    "fit_normaliser",
    "gaps",
    "health",
    "infer_timeframe",
    "inspect",
    "invalid",
    "limits_for",
    "loose",
    "next_times",
    "parse_times",
    "repair",
    "resample",
    "segments",
    "time_stamps",
    "zone_of_calendar",
]
