"""What is being fitted: a batch of windows becomes a loss and its parts.

The loop knows nothing of tokens and the objectives nothing of optimisers. Each objective owns one network; the
predictor's also holds the tokenizer, frozen, that turns bars into its tokens.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.data import Batch
from kronos.model import Kronos, KronosTokenizer

Sibling = Literal["true", "sampled"]


class Objective(Protocol):
    """A network and how well it does on a batch."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, network: Any, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """The loss to go down, and figures to be reported, of this network or of another of its kind (an average)."""
        ...


class TokenizerObjective:
    """Reconstruct the bars; `column_weights` says how much an error in each input column counts.

    `return_weight` counts the error of a bar's whole return, gap and body together, which is what forecasts add up; it
    means something for inputs of the kind `returns` only.
    """

    def __init__(
        self, tokenizer: KronosTokenizer, column_weights: tuple[float, ...] | None = None, return_weight: float = 0.0
    ) -> None:
        """Train this tokenizer on inputs of its own kind of normaliser."""
        self.network, self.return_weight = tokenizer, return_weight
        self.weights = None if column_weights is None else torch.tensor(column_weights)

    def loss(self, network: KronosTokenizer, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """The published loss; with column weights, its two reconstruction errors are weighted by column."""
        x = normalised(batch, network.normaliser).to(device_of(network))
        (coarse_x, full_x), quantiser, _, _ = network(x)
        coarse, full = self._error(coarse_x, x), self._error(full_x, x)
        loss = (coarse + full + quantiser) / 2
        return loss, {"coarse": coarse.item(), "full": full.item(), "quantiser": quantiser.item()}

    def _error(self, reconstruction: Tensor, x: Tensor) -> Tensor:
        squares = (reconstruction.float() - x).square()
        error = squares.mean() if self.weights is None else (squares * self.weights.to(x.device)).mean()
        if self.return_weight:
            off = _returns(reconstruction.float()) - _returns(x)
            error = error + self.return_weight * off.square().mean() / x.shape[-1]
        return error


class PredictorObjective:
    """Predict the next bar's tokens, over the look-back and beyond it.

    Bars past the look-back are the honest ones: their inputs are in units that were fitted before they happened, as
    in a forecast. `lookback_weight` is how much each of the others counts beside one of them. `sibling` says which
    coarse token the fine one is conditioned on: the true one, or one drawn from what the network believes. Validation
    counts the honest bars only and conditions on the true token, so that its figures are likelihoods.
    """

    def __init__(
        self,
        network: Kronos,
        tokenizer: KronosTokenizer,
        *,
        sibling: Sibling = "true",
        lookback_weight: float = 0.5,
    ) -> None:
        """Train this network on the tokens of this tokenizer."""
        self.network = network
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self.sibling, self.lookback_weight = sibling, lookback_weight

    def loss(self, network: Kronos, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """Cross entropy of both tokens; the figures are those of bars past the look-back."""
        device = device_of(network)
        s1, s2 = self.tokens(batch, device)
        stamps = torch.from_numpy(batch.stamps).to(device)
        stamp = stamps[:, 1:] if network.stamp_of == "next" else stamps[:, :-1]
        teacher = self.sibling == "true" or not network.training
        s1_logits, s2_logits = network(s1[:, :-1], s2[:, :-1], stamp, use_teacher_forcing=teacher, s1_targets=s1[:, 1:])
        first = batch.lookback - 1  # of the bars that are predicted, so many belong to the look-back
        parts = [_nats(s1_logits, s1[:, 1:]), _nats(s2_logits, s2[:, 1:])]  # (B, T - 1) each
        beyond = [part[:, first:].mean() for part in parts]
        loss = (beyond[0] + beyond[1]) / 2
        if network.training and self.lookback_weight and first:
            both = (parts[0] + parts[1]) / 2
            weights = torch.ones(both.shape[1], device=device)
            weights[:first] = self.lookback_weight
            loss = (both * weights).sum() / (weights.sum() * len(both))
        return loss, {"s1": beyond[0].item(), "s2": beyond[1].item()}

    @torch.no_grad()
    def tokens(self, batch: Batch, device: torch.device) -> list[Tensor]:
        """The coarse and the fine tokens of a batch, (B, L + H) each, the same in every precision."""
        inputs = normalised(batch, self.tokenizer.normaliser).to(device)
        with torch.autocast(device.type, enabled=False):
            pair: list[Tensor] = self.tokenizer.encode(inputs, half=True)
        return pair


def normalised(batch: Batch, kind: str) -> Tensor:
    """Network inputs (B, L + H, 6) of a batch, in units fitted on its look-back alone."""
    return torch.from_numpy(np.ascontiguousarray(batch.inputs(kind)))


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next(network.parameters()).device


def _returns(x: Tensor) -> Tensor:
    """Every bar's return (B, T), in the compressed unit of inputs (B, T, 6) of the kind `returns`."""
    return torch.asinh(torch.sinh(x[..., 0]) + torch.sinh(x[..., 1]))


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropies (B, T) of logits (B, T, V)."""
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape)
