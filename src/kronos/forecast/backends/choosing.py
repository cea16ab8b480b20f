"""What `Sampler.choose` does, in numpy: for a few rows on a CPU, where torch takes longer to begin than to work."""

import numpy as np
from numpy.typing import NDArray

from kronos.forecast.sampling import Sampler

Floats = NDArray[np.float32]


def choose(sampler: Sampler, logits: Floats, uniforms: Floats) -> NDArray[np.int64]:
    """Tokens (rows,) from logits (rows, vocabulary) for uniform numbers (rows,) in [0, 1)."""
    if sampler.top_k == 1:
        best: NDArray[np.int64] = logits.argmax(axis=-1)
        return best
    total = np.cumsum(_weights(sampler, logits), axis=-1, dtype=np.float64)
    # a number below 1 times the last sum stays below it, so rounding never lands on a token without weight
    target = uniforms[:, None].astype(np.float64) * total[:, -1:]
    found: NDArray[np.int64] = np.argmax(total > target, axis=-1)
    return found


def _weights(sampler: Sampler, logits: Floats) -> Floats:
    """Probabilities (rows, vocabulary) after temperature and filters, up to a factor."""
    scaled = logits / np.float32(sampler.temperature)
    kept = None
    if sampler.top_k:
        place = scaled.shape[-1] - min(sampler.top_k, scaled.shape[-1])
        kept = scaled >= np.partition(scaled, place, axis=-1)[:, place : place + 1]  # ties with the k-th stay
        scaled = np.where(kept, scaled, np.float32(-np.inf))
    weights: Floats = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    if sampler.top_p < 1 and not (sampler.top_k and sampler.reference_rule):
        weights = weights * _nucleus(weights, sampler.top_p)
    return weights


def _nucleus(weights: Floats, top_p: float) -> NDArray[np.bool_]:
    """(rows, vocabulary) true for the likeliest tokens that reach `top_p` together; of equal ones, the first."""
    # values are sorted without their places, which is many times faster
    ordered = -np.sort(-weights, axis=-1)
    odds = ordered / ordered.sum(axis=-1, keepdims=True)
    before = np.cumsum(odds, axis=-1, dtype=np.float64).astype(np.float32) - odds  # the one that crosses is kept
    count = (before <= top_p).sum(axis=-1, keepdims=True)
    least = np.take_along_axis(ordered, count - 1, axis=-1)
    above, level = weights > least, weights == least
    room = count - above.sum(axis=-1, keepdims=True)
    if (level.sum(axis=-1, keepdims=True) > room).any():
        level &= np.cumsum(level, axis=-1) <= room
    kept: NDArray[np.bool_] = above | level
    return kept
