"""What changes the weights: AdamW for all of them, or Muon for the matrices of the blocks and AdamW for the rest."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kronos.model.layers import Block
from kronos.model.network import DependencyLayer
from kronos.train.settings import LoopSettings

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose iteration drives singular values towards one
_ROUNDS = 5
_STEP = 0.2  # root mean square of the entries of an update at rate 1, about that of AdamW's


class Muon(Optimizer):
    """Momentum whose matrix is made orthogonal: every direction of a weight matrix moves equally far.

    The orthogonal factor is found by a few Newton-Schulz steps. Its entries are scaled to the size that AdamW's steps
    have (.2 as a root mean square), so that the rate and the decay mean the same for both and for all shapes.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        """Matrices only."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every matrix that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(average, group["momentum"])
                update = orthogonal(ahead) * (_STEP * max(weight.shape) ** 0.5)
                weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Roughly U V^T of a matrix U S V^T (singular values from about .7 to 1.2)."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def make_optimisers(network: nn.Module, groups: Sequence[dict[str, Any]], settings: LoopSettings) -> list[Optimizer]:
    """Optimisers of these groups (`tuning.parameter_groups`); each keeps its peak rate under "peak"."""
    hidden = _hidden(network) if settings.optimiser == "muon" else set()
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for group in groups:
        for chosen, mine, lr in ((theirs, False, settings.lr), (ours, True, settings.muon_lr or settings.lr)):
            params = [weight for weight in group["params"] if (id(weight) in hidden) == mine]
            if params:
                peak = lr * group["scale"]
                chosen.append({"params": params, "weight_decay": group["weight_decay"], "lr": peak, "peak": peak})
    made: list[Optimizer] = []
    if theirs:
        fused = all(weight.is_floating_point() for group in theirs for weight in group["params"])
        made.append(torch.optim.AdamW(theirs, betas=settings.betas, fused=fused))
    if ours:
        made.append(Muon(ours))
    return made


def _hidden(network: nn.Module) -> set[int]:
    """The matrices inside the blocks and the dependency layer; an adapter's factors are not what they add up to."""
    inside = [module for module in network.modules() if isinstance(module, Block | DependencyLayer)]
    named = [pair for module in inside for pair in module.named_parameters()]
    return {id(weight) for name, weight in named if weight.ndim == 2 and not name.endswith((".down", ".up"))}
