"""The likelihood of a GARCH(1,1) with Student-t innovations, for many series at once, and its gradient.

Arrays over series (N,) of returns (N, T). Parameters are mean, omega, alpha, beta and nu, the degrees of freedom. What
came before the first return is a weighted mean of the first 75 squares (`before`), as arch has it.
"""

from math import lgamma, log, pi
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kronos.evaluate.baselines.filters import DECAY, Decaying

Array = NDArray[np.float64]

LEAST_VARIANCE = 1e-12  # returns come in units of their deviation

_log_gamma = np.frompyfunc(lgamma, 1, 1)


class Parameters(NamedTuple):
    """Of every series (N,)."""

    mean: Array
    omega: Array
    alpha: Array
    beta: Array
    nu: Array


def variance_before(returns: Array) -> Array:
    """(N,) the variance before the first return: the first squares about the mean, weighted exponentially."""
    weights = DECAY ** np.arange(min(75, returns.shape[1]))
    around = returns[:, : len(weights)] - returns.mean(axis=1, keepdims=True)
    before: Array = np.square(around) @ (weights / weights.sum())
    return before


def variances(returns: Array, at: Parameters, before: Array) -> Array:
    """(N, T + 1) the variance of every return, and of the one after the last."""
    squares = np.square(returns - at.mean[:, None])
    return _filtered(squares, at, before, Decaying(at.beta))


def loss(returns: Array, at: Parameters, before: Array) -> tuple[Array, Parameters]:
    """The mean negative log-likelihood (N,) of a return, and its derivative by every parameter."""
    errors = returns - at.mean[:, None]
    squares, past = np.square(errors), Decaying(at.beta)
    h = _filtered(squares[:, :-1], at, before, past)  # (N, T)
    free = (at.nu - 2.0)[:, None]
    ratio = squares / (h * free)
    tails = np.log1p(ratio)
    weight = (at.nu + 1.0)[:, None] * ratio / (1.0 + ratio)  # the share of a square that counts, times square / h
    value = _constant(at.nu) + (0.5 * np.log(h) + 0.5 * (at.nu + 1.0)[:, None] * tails).mean(axis=1)
    pull = past.backwards(0.5 * (1.0 - weight) / h)  # what a variance does to all that follow it
    before_ = before[:, None]
    lagged = np.concatenate([before_, squares[:, :-1]], axis=1)
    by_mean = -(at.nu + 1.0)[:, None] * errors / (h * free) / (1.0 + ratio)
    by_mean[:, :-1] -= 2.0 * at.alpha[:, None] * errors[:, :-1] * pull[:, 1:]
    half = 0.5 * (_digamma((at.nu + 1.0) / 2.0) - _digamma(at.nu / 2.0) - 1.0 / (at.nu - 2.0))
    by_nu = (0.5 * tails - 0.5 * weight / free).mean(axis=1) - half
    slope = Parameters(
        by_mean.mean(axis=1),
        pull.mean(axis=1),
        (pull * lagged).mean(axis=1),
        (pull * np.concatenate([before_, h[:, :-1]], axis=1)).mean(axis=1),
        by_nu,
    )
    return value, slope


def _filtered(squares: Array, at: Parameters, before: Array, past: Decaying) -> Array:
    """(N, T + 1) variances; squares (N, T) are of the returns before each but the first."""
    lagged = np.concatenate([before[:, None], squares], axis=1)
    terms = at.omega[:, None] + at.alpha[:, None] * lagged
    terms[:, 0] += at.beta * before
    return np.maximum(past.forwards(terms), LEAST_VARIANCE)


def _constant(nu: Array) -> Array:
    """(N,) what the density's norm adds to the loss."""
    found = 0.5 * np.log(nu - 2.0) + 0.5 * log(pi)
    gammas: Array = np.asarray(_log_gamma(nu / 2.0) - _log_gamma((nu + 1.0) / 2.0), dtype=np.float64)
    return found + gammas


def _digamma(x: Array) -> Array:
    """The derivative of the logarithm of the gamma function, for x > 0: shifted up, then its asymptotic series."""
    shifted, taken = x.copy(), np.zeros_like(x)
    for _ in range(8):
        taken += 1.0 / shifted
        shifted += 1.0
    inverse = 1.0 / np.square(shifted)
    series = inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse * (1 / 240 - inverse / 132))))
    found: Array = np.log(shifted) - 0.5 / shifted - series - taken
    return found
