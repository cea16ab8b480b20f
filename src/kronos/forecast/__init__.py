"""Bars and a network become a forecast: the predictor, the generation engine, sampling."""

from kronos.forecast.engine import Engine, Prompt
from kronos.forecast.forecaster import LEAST_BARS, KronosForecaster
from kronos.forecast.predictor import KronosPredictor, load
from kronos.forecast.sampling import Sampler

__all__ = ["LEAST_BARS", "Engine", "KronosForecaster", "KronosPredictor", "Prompt", "Sampler", "load"]
