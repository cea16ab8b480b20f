"""From logits to a token: temperature, top-k, top-p, and random numbers that belong to a place, not to a moment.

Every draw has its own number, a hash of (seed, series, path, step, level). So a forecast does not depend on what else
is in the batch, on how the work was split, or on how many draws came before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import index

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kronos.errors import ConfigError

_GOLDEN = 0x9E3779B97F4A7C15  # the odd number of splitmix64, which spreads consecutive counters


@dataclass(frozen=True)
class Sampler:
    """How a token is chosen from its logits.

    `top_k` 0 and `top_p` 1 switch the filters off. Where both are given they compose, first k then p; with
    `reference_rule` top_k then switches top_p off, as the reference does.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    reference_rule: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if not self.temperature > 0 or not np.isfinite(self.temperature):
            raise ConfigError(f"the temperature must be above 0, not {self.temperature}; for greedy choice use top_k=1")
        if self.top_k < 0 or int(self.top_k) != self.top_k:
            raise ConfigError(f"top_k must be a whole number >= 0 (0 switches it off), not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must lie in (0, 1] (1 switches it off), not {self.top_p}")

    @classmethod
    def of(
        cls, temperature: float, top_k: int | None, top_p: float | None, *, reference_rule: bool = False
    ) -> "Sampler":
        """A sampler from arguments in which None means off."""
        return cls(temperature, top_k or 0, 1.0 if top_p is None else top_p, reference_rule)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (rows, vocabulary) after temperature and filters."""
        logits = logits.float() / self.temperature
        if self.top_k:
            kth = logits.topk(min(self.top_k, logits.shape[-1]), dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < kth, float("-inf"))  # ties with the k-th stay
        if self.top_p < 1 and not (self.top_k and self.reference_rule):
            ordered, order = logits.sort(dim=-1, descending=True, stable=True)
            odds = ordered.softmax(dim=-1)
            before = odds.cumsum(dim=-1) - odds  # the one that crosses top_p is kept
            drop = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before > self.top_p)
            logits = logits.masked_fill(drop, float("-inf"))
        return logits.softmax(dim=-1)

    def choose(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """Tokens (rows,) for uniform numbers (rows,) in [0, 1)."""
        if self.top_k == 1:
            return logits.argmax(dim=-1)
        total = self.probabilities(logits).cumsum(dim=-1)
        # strictly below the last sum, so that rounding never lands on a token without probability
        ceiling = torch.nextafter(total[:, -1:], torch.zeros_like(total[:, -1:]))
        target = torch.minimum(uniforms[:, None] * total[:, -1:], ceiling)
        return torch.searchsorted(total, target, right=True)[:, 0]


def series_key(*parts: bytes) -> int:
    """A 64-bit key of a series' own content: equal series draw equal numbers wherever they stand."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def uniform_numbers(seed: int, keys: Sequence[int], paths: range, steps: int) -> NDArray[np.float32]:
    """Numbers in [0, 1) for every (series, path, step, level): (len(keys), len(paths), steps, 2)."""
    with np.errstate(over="ignore"):  # wrapping round is what the hash is made of
        state = _mix(np.array(keys, dtype=np.uint64) ^ _mix(np.array([index(seed) % 2**64], dtype=np.uint64)))
        state = _mix(state[:, None] + _counter(paths.start, len(paths)))
        state = _mix(state[..., None] + _counter(0, 2 * steps))
    # 24 bits fill a float32 exactly and stay below 1
    numbers: NDArray[np.float32] = ((state >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)).reshape(
        len(keys), len(paths), steps, 2
    )
    return numbers


def _counter(start: int, count: int) -> NDArray[np.uint64]:
    return np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every input bit moves every output bit."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
