"""Recursions over time that baselines share: y[t] = decay * y[t - 1] + x[t], for many series at once."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DECAY = 0.94  # of the exponentially weighted variance, RiskMetrics' for daily bars
BLOCK = 24  # steps that one matrix product takes; what is left to a loop is a carry from block to block


class Decaying:
    """The recursion for series of decays (N,), forwards and backwards."""

    def __init__(self, decays: Array) -> None:
        """Work out the powers once for all arrays that are to be run through it."""
        self.powers = decays[:, None] ** np.arange(BLOCK + 1)  # (N, B + 1)
        lag = np.arange(BLOCK)[None, :] - np.arange(BLOCK)[:, None]  # from row to column
        self.kernel = np.where(lag >= 0, self.powers[:, np.abs(lag)], 0.0)  # (N, B, B)

    def forwards(self, terms: Array) -> Array:
        """y (N, T) of terms x (N, T), begun from nothing."""
        rows, length = terms.shape
        blocks = -(-length // BLOCK)
        padded = np.zeros((rows, blocks * BLOCK))
        padded[:, :length] = terms
        sums = padded.reshape(rows, blocks, BLOCK) @ self.kernel
        carry = np.zeros(rows)
        for block in range(blocks):
            sums[:, block] += carry[:, None] * self.powers[:, 1:]
            carry = sums[:, block, -1]
        return sums.reshape(rows, -1)[:, :length]

    def backwards(self, terms: Array) -> Array:
        """The same from the last to the first: what a change of every term does to a sum over all later y."""
        return self.forwards(terms[:, ::-1])[:, ::-1]


def ewma_variances(changes: Array) -> Array:
    """(T + 1,) exponentially weighted mean squares before each of the returns (T,) and after the last one.

    Begun with the plain mean of all squares; without drift.
    """
    squares = np.square(changes)
    terms = (1.0 - DECAY) * np.concatenate([[0.0], squares])
    terms[0] = squares.mean()
    variances: Array = Decaying(np.array([DECAY])).forwards(terms[None])[0]
    return variances
