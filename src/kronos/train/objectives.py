"""What is being fitted: a batch of windows becomes a loss and its parts.

The loop knows nothing of tokens and the objectives nothing of optimisers. Each objective owns one network; the
predictor's also holds the tokenizer, frozen, that turns bars into its tokens.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.data import Batch
from kronos.model import Kronos, KronosTokenizer


class Objective(Protocol):
    """A network and how well it does on a batch."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """The loss to go down, and figures to be reported."""
        ...


class TokenizerObjective:
    """Reconstruct the bars; `column_weights` says how much an error in each input column counts."""

    def __init__(self, tokenizer: KronosTokenizer, column_weights: tuple[float, ...] | None = None) -> None:
        """Train this tokenizer on inputs of its own kind of normaliser."""
        self.network = tokenizer
        self.weights = None if column_weights is None else torch.tensor(column_weights)

    def loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """The published loss; with column weights, its two reconstruction errors are weighted by column."""
        x = normalised(batch, self.network.normaliser)
        if self.weights is None:
            loss, coarse, full, quantiser = self.network.loss(x)
        else:
            (coarse_x, full_x), quantiser, _, _ = self.network(x)
            coarse, full = self._error(coarse_x, x), self._error(full_x, x)
            loss = (coarse + full + quantiser) / 2
        return loss, {"coarse": coarse.item(), "full": full.item(), "quantiser": quantiser.item()}

    def _error(self, reconstruction: Tensor, x: Tensor) -> Tensor:
        assert self.weights is not None
        return (F.mse_loss(reconstruction, x, reduction="none") * self.weights).mean()


class PredictorObjective:
    """Predict the next bar's tokens, over the look-back and beyond it.

    Bars past the look-back are the honest ones: their inputs are in units that were fitted before they happened, as
    in a forecast. `lookback_weight` is how much the others count beside them.
    """

    def __init__(
        self, network: Kronos, tokenizer: KronosTokenizer, *, teacher: bool = True, lookback_weight: float = 0.5
    ) -> None:
        """Train this network on the tokens of this tokenizer; `teacher`: fine tokens given the true coarse ones."""
        self.network, self.tokenizer = network, tokenizer.eval().requires_grad_(False)
        self.teacher, self.lookback_weight = teacher, lookback_weight

    def loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """Cross entropy of both tokens; the figures are those of bars past the look-back."""
        with torch.no_grad():
            s1, s2 = self.tokenizer.encode(normalised(batch, self.tokenizer.normaliser), half=True)
        stamps = torch.from_numpy(batch.stamps)
        stamp = stamps[:, 1:] if self.network.stamp_of == "next" else stamps[:, :-1]
        s1_logits, s2_logits = self.network(
            s1[:, :-1], s2[:, :-1], stamp, use_teacher_forcing=self.teacher, s1_targets=s1[:, 1:]
        )
        before = torch.zeros_like(s1[:, 1:], dtype=torch.bool)
        before[:, : batch.lookback - 1] = True  # true where the bar to be predicted still belongs to the look-back
        beyond = self.network.head.compute_loss(s1_logits, s2_logits, s1[:, 1:], s2[:, 1:], before)
        loss, parts = beyond.loss, {"s1": beyond.s1.item(), "s2": beyond.s2.item()}
        if self.lookback_weight and batch.lookback > 1:
            within = self.network.head.compute_loss(s1_logits, s2_logits, s1[:, 1:], s2[:, 1:], ~before)
            loss = (loss + self.lookback_weight * within.loss) / (1 + self.lookback_weight)
        return loss, parts


def normalised(batch: Batch, kind: str) -> Tensor:
    """Network inputs (B, L + H, 6) of a batch, in units fitted on its look-back alone."""
    return torch.from_numpy(np.ascontiguousarray(batch.inputs(kind)))
