"""Bars and a network become a forecast: the predictor, the generation engine, sampling, ensembles, calibration."""

from kronos.forecast.calibration import AdaptiveConformal, Calibrated, Calibration
from kronos.forecast.engine import Engine, Prompt
from kronos.forecast.ensemble import Ensemble
from kronos.forecast.forecaster import LEAST_BARS, KronosForecaster
from kronos.forecast.predictor import KronosPredictor, load
from kronos.forecast.sampling import Sampler

__all__ = [
    "LEAST_BARS",
    "AdaptiveConformal",
    "Calibrated",
    "Calibration",
    "Engine",
    "Ensemble",
    "KronosForecaster",
    "KronosPredictor",
    "Prompt",
    "Sampler",
    "load",
]
