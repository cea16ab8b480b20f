"""ARIMA and exponential smoothing of the log close, chosen and fitted by statsforecast (the extra `classical`).

Both are linear: what happens at a step moves all later ones by fixed weights. So paths are drawn here, as the model's
mean plus weighted sums of its own residuals, drawn again with replacement: the right variance at every horizon, the
model's own dependence along a path, and the residuals' tails. That the parameters are estimates is not counted in, as
in the packages' own intervals. Prices have no season of so many bars, so none is looked for.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE
from kronos.evaluate.baselines.asking import Past
from kronos.evaluate.baselines.base import Fitted
from kronos.extras import require, without_its_deprecations

Array = NDArray[np.float64]

# What the package raises where no model can be fitted, or a class below one of these. Its bare Exception ("no model
# able to be fitted") and KeyError need a handful of bars or closes without any error to model: `least` and `Past.still`
# keep both from it.
REFUSALS = (ValueError, ArithmeticError, IndexError, RuntimeError)


@dataclass(frozen=True)
class Linear:
    """A linear model of the log close, fitted."""

    model: str
    coefficients: Mapping[str, float]
    mean: Array  # (H,) less the last log close
    weights: Array  # (H,) what a shock adds so many steps later; the first is 1
    shocks: Array  # (R,) to be drawn from
    fallback: str = ""


class _LinearWalk(Fitted[Linear]):
    """Paths of a linear model."""

    least = 30

    @abstractmethod
    def model(self, closes: Array, horizon: int) -> Linear:
        """The model of log closes (L,)."""

    def fit(self, pasts: Sequence[Past]) -> list[Linear]:
        """One after the other; where the package finds no model, a random walk of the look-back's own returns."""
        found = []
        for past in pasts:
            try:
                with without_its_deprecations():
                    found.append(self.model(np.log(past.candles[:, CLOSE]), past.horizon))
            except REFUSALS as error:
                shocks = past.changes - past.changes.mean()
                nothing = np.zeros(past.horizon)
                found.append(Linear("random walk", {}, nothing, nothing + 1.0, shocks, f"no model: {error}"))
        return found

    def draw(self, past: Past, fit: Linear, samples: int, random: np.random.Generator) -> Array:
        """The mean, and every shock's echo."""
        shocks = fit.shocks[random.integers(0, len(fit.shocks), (samples, past.horizon))]
        lag = np.arange(past.horizon)[None, :] - np.arange(past.horizon)[:, None]  # from shock to step
        echoes = np.where(lag >= 0, fit.weights[np.abs(lag)], 0.0)
        moves: Array = fit.mean + shocks @ echoes
        return moves

    def told(self, fit: Linear) -> dict[str, Any]:
        """Which model it became."""
        deviation = float(fit.shocks.std())
        return {"model": fit.model, **fit.coefficients, "deviation": deviation, "fallback": fit.fallback}


@dataclass(frozen=True)
class AutoArima(_LinearWalk):
    """ARIMA(p, d, q), with a drift where the information criterion wants one."""

    @property
    def name(self) -> str:
        """arima."""
        return "arima"

    def model(self, closes: Array, horizon: int) -> Linear:
        """The best by AICc, searched step by step."""
        models = require("statsforecast.models", extra="classical")
        fitted = models.AutoARIMA(season_length=1).fit(closes)
        p, q, _, _, _, differences, _ = fitted.model_["arma"]
        coefficients = {name: float(value) for name, value in fitted.model_["coef"].items()}
        autoregression = np.array([1.0, *(-coefficients[f"ar{i + 1}"] for i in range(p))])
        for _ in range(differences):
            autoregression = np.convolve(autoregression, [1.0, -1.0])
        average = np.array([1.0, *(coefficients[f"ma{i + 1}"] for i in range(q))])
        mean = np.asarray(fitted.predict(horizon)["mean"], dtype=np.float64) - closes[-1]
        shocks = _shocks(fitted.model_["residuals"][p + differences :], fitted.model_["sigma2"])
        name = f"ARIMA({p},{differences},{q})" + " with drift" * ("drift" in coefficients)
        return Linear(name, coefficients, mean, _quotient(average, autoregression, horizon), shocks)


@dataclass(frozen=True)
class Ets(_LinearWalk):
    """Exponential smoothing with additive errors, with or without a trend, damped or not."""

    @property
    def name(self) -> str:
        """ets."""
        return "ets"

    def model(self, closes: Array, horizon: int) -> Linear:
        """The best by AICc."""
        models = require("statsforecast.models", extra="classical")
        fitted = models.AutoETS(season_length=1, model="AZN").fit(closes)
        alpha, beta, _, phi = (float(np.nan_to_num(value)) for value in fitted.model_["par"][:4])
        _, trend, _, damped = fitted.model_["components"]
        phi = phi if damped == "D" else 1.0
        coefficients = {"alpha": alpha}
        weights = np.full(horizon, alpha)
        if trend != "N":
            coefficients |= {"beta": beta, "phi": phi}
            weights += beta * np.concatenate([[0.0], np.cumsum(phi ** np.arange(1, horizon))])
        weights[0] = 1.0
        mean = np.asarray(fitted.predict(horizon)["mean"], dtype=np.float64) - closes[-1]
        shocks = _shocks(fitted.model_["residuals"], fitted.model_["sigma2"])
        return Linear(fitted.model_["method"], coefficients, mean, weights, shocks)


def _shocks(residuals: Any, variance: float) -> Array:
    """Residuals to draw from: centred, and as wide as the model says its errors are."""
    left = np.asarray(residuals, dtype=np.float64)
    left = left[np.isfinite(left)]
    left = left - left.mean()
    shocks: Array = left * np.sqrt(float(variance) / np.square(left).mean())
    return shocks


def _quotient(above: Array, below: Array, terms: int) -> Array:
    """The first coefficients of a quotient of polynomials, whose constants are 1."""
    found = np.zeros(terms)
    for i in range(terms):
        reach = min(i, len(below) - 1)
        earlier = found[i - reach : i][::-1] @ below[1 : reach + 1]
        found[i] = (above[i] if i < len(above) else 0.0) - earlier
    return found
