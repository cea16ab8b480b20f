"""Two small recurrent networks that judge generated sequences: one tells them from real ones, one learns from them.

They are the paper's: an LSTM of one layer of 32 that is shown both kinds for 20 epochs, and an LSTM of two layers of 64
that learns to predict the next bar from generated sequences and is tested on real ones. What the paper leaves open is
settled here: Adam at 1e-3, features brought to mean 0 and deviation 1 by those of the training sequences and cut at 10,
and about 75 batches an epoch, of 128 sequences or fewer, so that few sequences do not mean a network that has learned
nothing. Equal seeds give equal numbers on one machine. torch is fetched when a network is trained.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

EPOCHS = 20
_DISCRIMINATOR = (32, 1)  # units, layers
_PREDICTOR = (64, 2)
_RATE, _CLIP = 1e-3, 10.0
_LARGEST, _LEAST, _BATCHES = 128, 16, 75  # of a batch; batches of an epoch


def discriminator_errors(
    real: ArrayLike, made: ArrayLike, held: ArrayLike, *, epochs: int = EPOCHS, seed: int = 0
) -> tuple[Array, Array]:
    """Whether the discriminator errs at each held-out real and generated sequence: 1, 0, or .5 where it is undecided.

    `real` and `made` are (N, T, F), row by row from the same origin; `held` (N,) marks those that are kept from
    training, real and generated alike. The mean of all errors is the discriminative score: .5 where the two cannot be
    told apart, 0 where they always can.
    """
    truth, copies, kept = _checked(real, made, held)
    train = np.concatenate([truth[~kept], copies[~kept]])
    labels = np.repeat([1.0, 0.0], len(train) // 2)
    scale = _Scale(train)
    network, head = _trained(scale(train), labels[:, None], _DISCRIMINATOR, epochs, seed, last=True)
    found = []
    for sequences, label in ((truth, 1.0), (copies, 0.0)):
        side = np.sign(_applied(network, head, scale(sequences[kept]))[:, -1, 0])
        found.append(0.5 - 0.5 * side * (2.0 * label - 1.0))
    return found[0], found[1]


def next_bar_predictions(
    source: ArrayLike, tested: ArrayLike, *, epochs: int = EPOCHS, seed: int = 0
) -> tuple[Array, Array]:
    """What a network that learned from `source` (N, T, F) says of the next bar in `tested` (M, T, F), and what came.

    The first feature is predicted, of every bar but the first from all before it: both are (M, T - 1).
    """
    learned, judged = _sequences(source, "source"), _sequences(tested, "tested")
    if learned.shape[1:] != judged.shape[1:]:
        raise ConfigError(
            f"a network of sequences {learned.shape[1:]} cannot be tested on sequences {judged.shape[1:]}"
        )
    scale = _Scale(learned)
    inputs = scale(learned)
    network, head = _trained(inputs[:, :-1], inputs[:, 1:, 0], _PREDICTOR, epochs, seed, last=False)
    said = _applied(network, head, scale(judged)[:, :-1])[..., 0]
    return scale.undone(said), judged[:, 1:, 0]


class _Scale:
    """Features by the mean and the deviation of these sequences."""

    def __init__(self, sequences: Array) -> None:
        clipped = np.clip(sequences, -1e6, 1e6)
        self._mean, deviation = clipped.mean(axis=(0, 1)), clipped.std(axis=(0, 1))
        self._deviation = np.where(deviation > 1e-12, deviation, 1.0)

    def __call__(self, sequences: Array) -> Array:
        scaled: Array = np.clip((sequences - self._mean) / self._deviation, -_CLIP, _CLIP)
        return scaled

    def undone(self, first: Array) -> Array:
        """Back to the units of the first feature."""
        values: Array = first * self._deviation[0] + self._mean[0]
        return values


def _trained(
    inputs: Array, targets: Array, size: tuple[int, int], epochs: int, seed: int, *, last: bool
) -> "tuple[nn.LSTM, nn.Linear]":
    """An LSTM with a head, trained: with `last` to tell one label a sequence, else a number a bar."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are none of our business
        torch.manual_seed(seed)
        network, head = nn.LSTM(inputs.shape[2], size[0], size[1], batch_first=True), nn.Linear(size[0], 1)
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=_RATE)
    x, y = (torch.from_numpy(np.ascontiguousarray(one)).float() for one in (inputs, targets))
    with torch.enable_grad():
        for rows in _batches(len(x), epochs, seed):
            some = torch.from_numpy(rows)
            out = _read(network, head, x[some])[..., 0]
            loss = F.binary_cross_entropy_with_logits(out[:, -1:], y[some]) if last else F.mse_loss(out, y[some])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return network, head


def _applied(network: "nn.LSTM", head: "nn.Linear", inputs: Array) -> Array:
    """The head's numbers (N, T, 1)."""
    import torch

    with torch.no_grad():
        out = [
            _read(network, head, torch.from_numpy(np.ascontiguousarray(inputs[first : first + 1024])).float())
            for first in range(0, len(inputs), 1024)
        ]
        numbers: Array = torch.cat(out).double().numpy()
    return numbers


def _read(network: "nn.LSTM", head: "nn.Linear", inputs: "Tensor") -> "Tensor":
    states, _ = network(inputs)
    out: Tensor = head(states)
    return out


def _batches(count: int, epochs: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The numbers of every batch: each epoch in an order of its own."""
    size = int(np.clip(count // _BATCHES, _LEAST, _LARGEST))
    rng = np.random.default_rng([seed, 1])
    for _ in range(epochs):
        order = rng.permutation(count)
        for first in range(0, count, size):
            yield order[first : first + size]


def _checked(real: ArrayLike, made: ArrayLike, held: ArrayLike) -> tuple[Array, Array, Flags]:
    truth, copies, kept = _sequences(real, "real"), _sequences(made, "made"), np.asarray(held, dtype=bool)
    if truth.shape != copies.shape:
        raise ConfigError(f"real {truth.shape} and generated {copies.shape} sequences must be equally many and long")
    if kept.shape != (len(truth),) or not kept.any() or kept.all():
        raise ConfigError("held marks some of the sequences, and neither none nor all of them")
    return truth, copies, kept


def _sequences(values: ArrayLike, what: str) -> Array:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 3 or 0 in rows.shape or rows.shape[1] < 2:
        raise ConfigError(f"{what} must be sequences (N, T, F) of at least two bars; the shape is {rows.shape}")
    if not np.isfinite(rows).all():
        raise ConfigError(f"{what} holds what is not a number")
    return rows
