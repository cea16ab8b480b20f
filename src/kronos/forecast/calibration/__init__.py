"""What past forecasts teach about the next ones: fitted, saved beside the weights, applied to whole paths."""

from kronos.forecast.calibration.calibration import ALL, CALIBRATION_FILE, GROUPINGS, Calibration
from kronos.forecast.calibration.fitting import LEAST_ORIGINS, fit
from kronos.forecast.calibration.online import AdaptiveConformal
from kronos.forecast.calibration.samples import Outcomes
from kronos.forecast.calibration.sampling import Sampling
from kronos.forecast.calibration.wrapping import Calibrated

__all__ = [
    "ALL",
    "CALIBRATION_FILE",
    "GROUPINGS",
    "LEAST_ORIGINS",
    "AdaptiveConformal",
    "Calibrated",
    "Calibration",
    "Outcomes",
    "Sampling",
    "fit",
]
