"""Low-rank adapters: a linear layer keeps its weights and learns a small change beside them.

An adapted layer computes base(x) + alpha / rank * up(down(x)). `up` begins at zero, so an adapted network begins as the
network it was. The layer's `weight` is the sum, so whatever reads weights instead of calling layers (the folded
networks) sees the same function. In a state dict the layer's own weights are found under `base`, the change under
`down` and `up`.
"""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.errors import ConfigError
from kronos.model.layers import Attention, FeedForward

Targets = Literal["attention", "ffn", "all"]

_KINDS: Mapping[str, tuple[type[nn.Module], ...]] = {
    "attention": (Attention,),
    "ffn": (FeedForward,),
    "all": (Attention, FeedForward),
}


class Adapted(nn.Module):
    """A linear layer and a change to its matrix of no more than `rank` dimensions."""

    def __init__(
        self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0, random: torch.Generator | None = None
    ) -> None:
        """Adapt a layer; dropout is before the change alone, and what the layer itself computes never drops out."""
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        self.dropout = nn.Dropout(dropout)
        edge = base.in_features**-0.5
        # drawn on the processor in float32: the same numbers wherever the network lies
        start = torch.empty(rank, base.in_features).uniform_(-edge, edge, generator=random)
        self.down = nn.Parameter(start.to(base.weight))  # (rank, in)
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))  # (out, rank)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        # two thin products: the matrix of the sum would need a gradient as large as the frozen one's
        change = F.linear(F.linear(self.dropout(x), self.down) * self.scale, self.up)
        out: Tensor = self.base(x) + change
        return out

    @property
    def weight(self) -> Tensor:
        """The matrix (out, in) that is in effect; computed anew, never in fewer bits than it is held in."""
        with torch.autocast(self.up.device.type, enabled=False):
            return torch.addmm(self.base.weight, self.up, self.down, alpha=self.scale)

    @property
    def bias(self) -> Tensor | None:
        """The layer's bias, which has no adapter."""
        return self.base.bias

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return self.base.in_features

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return self.base.out_features


def linears(network: nn.Module, targets: Targets) -> dict[str, nn.Linear]:
    """The layers that can be adapted: of all attention, the dependency layer's too, and of the feed-forward layers."""
    return {
        f"{name}.{part}": layer
        for name, module in network.named_modules()
        if isinstance(module, _KINDS[targets])
        for part, layer in module.named_children()
        if isinstance(layer, nn.Linear)
    }


def adapt(
    network: nn.Module, layers: Mapping[str, nn.Linear], rank: int, alpha: float, dropout: float, seed: int
) -> None:
    """Put adapters round these layers of a network, or raise and change nothing."""
    for name, layer in layers.items():
        if rank > min(layer.in_features, layer.out_features):
            raise ConfigError(
                f"tuning.rank {rank} is larger than {name}, a matrix of {layer.out_features} x {layer.in_features}; "
                "choose a smaller one, or train the weights themselves"
            )
    random = torch.Generator().manual_seed(seed)
    for name, layer in layers.items():
        _put(network, name, Adapted(layer, rank, alpha, dropout, random))


def is_adapted(network: nn.Module) -> bool:
    """Whether a network has adapters."""
    return any(isinstance(module, Adapted) for module in network.modules())


@torch.no_grad()
def fold_in(network: nn.Module) -> None:
    """Replace every adapter by a plain layer with the matrix that was in effect, in place."""
    adapted = {name: module for name, module in network.named_modules() if isinstance(module, Adapted)}
    for name, module in adapted.items():
        module.base.weight.copy_(module.weight)
        _put(network, name, module.base)


def _put(network: nn.Module, name: str, layer: nn.Module) -> None:
    above, _, last = name.rpartition(".")
    setattr(network.get_submodule(above), last, layer)
