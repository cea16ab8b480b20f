"""How the processes of a run share the work on one network.

"ddp": every process holds the whole network and its optimiser, and gradients are averaged. "fsdp": every process holds
its part of each weight, of its gradient, its average and its moments, and borrows the other parts block by block while
it computes; so a network is trained that one GPU could not hold with all that training adds to it.

States are always whole and plain: what one way has saved, another goes on from.
"""

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kronos.data import Batch
from kronos.errors import ConfigError
from kronos.model.layers import Block
from kronos.train.checkpoints import State
from kronos.train.objectives import Objective
from kronos.train.ranks import Ranks
from kronos.train.settings import LoopSettings

Weights = dict[str, Any]
Losses = tuple[Tensor, Mapping[str, float]]


class Sharing(Protocol):
    """The network that is trained, and what all processes do with it; every method is called in all of them."""

    network: nn.Module
    """What is trained: the objective's own network, or this process's part of a copy."""

    def another(self) -> nn.Module:
        """A network of the same weights, held the same way and not trained."""

    def begin(self) -> None:
        """The weights are now those to begin with."""

    def exchanging(self, last: bool) -> AbstractContextManager[Any]:
        """Around a batch: gradients are averaged over processes at a step's last one only."""

    def loss(self, batch: Batch) -> Losses:
        """The objective's loss of the trained network."""

    def weights(self, network: nn.Module) -> Weights:
        """All weights of the trained network or another; for the first process, the others may get none."""

    def set_weights(self, network: nn.Module, weights: Weights) -> None:
        """Put all these weights in the place of a network's."""

    def moments(self, optimisers: Sequence[Optimizer]) -> list[State]:
        """All that the optimisers remember; for the first process, like the weights."""

    def set_moments(self, optimisers: Sequence[Optimizer], states: Sequence[State]) -> None:
        """Let the optimisers remember all this."""

    def whole(self, network: nn.Module) -> nn.Module:
        """The trained network or another as a plain module, in the first process."""

    def end(self, weights: Weights) -> None:
        """Give the objective's network, in every process, these weights of the first one."""


def shared_out(objective: Objective, settings: LoopSettings, ranks: Ranks) -> Sharing:
    """The objective's network, shared as the settings say; a process alone has all of it either way."""
    if settings.parallel == "fsdp" and settings.optimiser == "muon":
        raise ConfigError("optimiser 'muon' needs whole matrices, parallel 'fsdp' has parts: use adamw, or ddp")
    if settings.parallel == "fsdp" and ranks.count > 1:
        return Parts(objective, ranks, torch.bfloat16 if settings.precision == "bfloat16" else None)
    return Copies(objective, ranks)


class Copies:
    """Every process has all of the network; one process alone has the only one."""

    def __init__(self, objective: Objective, ranks: Ranks) -> None:
        """Train the objective's own network."""
        self.network, self.ranks = objective.network, ranks
        self._forward: Any = _Loss(objective)

    def another(self) -> nn.Module:
        """A copy."""
        return copy.deepcopy(self.network).requires_grad_(False)

    def begin(self) -> None:
        """The other processes take the first one's weights."""
        if self.ranks.count > 1:
            self._forward = _averaging(self._forward)

    def exchanging(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients add up in each process before they are averaged."""
        waits: AbstractContextManager[Any] = nullcontext() if self.ranks.count == 1 or last else self._forward.no_sync()
        return waits

    def loss(self, batch: Batch) -> Losses:
        """The objective's loss."""
        losses: Losses = self._forward(batch)
        return losses

    def weights(self, network: nn.Module) -> Weights:
        """Its own."""
        return network.state_dict()

    def set_weights(self, network: nn.Module, weights: Weights) -> None:
        """Copy them."""
        network.load_state_dict(weights)

    def moments(self, optimisers: Sequence[Optimizer]) -> list[State]:
        """Their own."""
        return [optimiser.state_dict() for optimiser in optimisers]

    def set_moments(self, optimisers: Sequence[Optimizer], states: Sequence[State]) -> None:
        """Copy them."""
        for optimiser, state in zip(optimisers, states, strict=True):
            optimiser.load_state_dict(state)

    def whole(self, network: nn.Module) -> nn.Module:
        """It is whole."""
        return network

    def end(self, weights: Weights) -> None:
        """Copy them, and send them round."""
        if self.ranks.leads:
            self.network.load_state_dict(weights)
        self.ranks.alike(self.network)


class Parts:
    """Every process has its part of each weight; the objective's network waits, whole, in the processor's memory."""

    def __init__(self, objective: Objective, ranks: Ranks, precision: torch.dtype | None) -> None:
        """Train a copy; with a precision, weights are lent in it, and gradients averaged in float32 all the same."""
        try:
            from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
        except ImportError as error:
            raise ConfigError(
                f"parallel 'fsdp' needs torch 2.6 or newer, this is {torch.__version__}; use ddp"
            ) from error
        from torch.distributed.device_mesh import init_device_mesh

        self.objective, self.ranks, self._shard = objective, ranks, fully_shard
        self._mesh = init_device_mesh(ranks.device.type, (ranks.count,))
        # inputs stay as they are: the blocks' rotations need all their digits, and autocast sees to the rest
        self._policy = MixedPrecisionPolicy(
            param_dtype=precision, reduce_dtype=torch.float32 if precision else None, cast_forward_inputs=False
        )
        ranks.alike(objective.network)
        self.network: Any = self._parted(copy.deepcopy(objective.network))
        objective.network.to("cpu")

    def another(self) -> nn.Module:
        """A copy, parted."""
        whole = copy.deepcopy(self.objective.network).requires_grad_(False)
        return self._parted(whole.to(self.ranks.device))

    def begin(self) -> None:
        """Nothing: every process has taken its parts of the same weights."""

    def exchanging(self, last: bool) -> AbstractContextManager[Any]:
        """Whole gradients add up in each process before they are averaged and parted."""
        self.network.set_requires_gradient_sync(last)
        return nullcontext()

    def loss(self, batch: Batch) -> Losses:
        """The objective's loss."""
        with warnings.catch_warnings():  # logits are views, and nobody changes them in place
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
            return self.objective.loss(self.network, batch)

    def weights(self, network: nn.Module) -> Weights:
        """Collected one by one."""
        return self._collected(network.state_dict())

    def set_weights(self, network: nn.Module, weights: Weights) -> None:
        """Each process takes its parts."""
        held = network.state_dict()
        if held.keys() != weights.keys():
            raise KeyError(f"weights of other names: {', '.join(sorted(held.keys() ^ weights.keys())[:4])}")
        network.load_state_dict({name: self._part(weights[name], like) for name, like in held.items()})

    def moments(self, optimisers: Sequence[Optimizer]) -> list[State]:
        """Collected one by one."""
        states = [optimiser.state_dict() for optimiser in optimisers]
        return [
            state | {"state": {number: self._collected(one) for number, one in state["state"].items()}}
            for state in states
        ]

    def set_moments(self, optimisers: Sequence[Optimizer], states: Sequence[State]) -> None:
        """Each process takes its parts."""
        for optimiser, state in zip(optimisers, states, strict=True):
            weights = [weight for group in optimiser.param_groups for weight in group["params"]]
            parts = {
                number: {key: self._part(value, weights[number]) for key, value in one.items()}
                for number, one in state["state"].items()
            }
            optimiser.load_state_dict(state | {"state": parts})

    def whole(self, network: nn.Module) -> nn.Module:
        """The objective's network, with its weights."""
        weights = self.weights(network)
        if self.ranks.leads:
            self.objective.network.load_state_dict(weights)
        return self.objective.network

    def end(self, weights: Weights) -> None:
        """Copy them, and send them round."""
        if self.ranks.leads:
            self.objective.network.load_state_dict(weights)
        self.ranks.alike(self.objective.network.to(self.ranks.device))

    def _parted(self, network: nn.Module) -> nn.Module:
        for module in network.modules():
            if isinstance(module, Block):
                self._shard(module, mesh=self._mesh, mp_policy=self._policy)
        # what lies outside the blocks is given back after a pass too: an average is moved between its passes
        self._shard(network, mesh=self._mesh, mp_policy=self._policy, reshard_after_forward=True)
        return network

    def _collected(self, values: Mapping[str, Any]) -> State:
        """Whole tensors of parted ones; all processes help to collect them, and the first one keeps them."""
        from torch.distributed.tensor import DTensor

        found = {}
        for name, value in values.items():
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            if self.ranks.leads:
                found[name] = whole.cpu() if isinstance(whole, Tensor) else whole
        return found

    def _part(self, whole: Any, like: Tensor) -> Any:
        """This process's part of a tensor of the first one, where `like` is parted and the tensor of its shape."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or not isinstance(whole, Tensor) or whole.shape != like.shape:
            return whole
        return distribute_tensor(whole.to(self.ranks.device), like.device_mesh, like.placements)


class _Loss(nn.Module):
    """An objective and its network as one module, whose parameters a wrapper can find."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.network, self._loss = objective.network, objective.loss

    def forward(self, batch: Batch) -> Losses:
        return self._loss(self.network, batch)


def _averaging(module: nn.Module) -> nn.Module:
    """The module with its gradients averaged over processes; its buffers never change and are sent round once."""
    from torch.nn.parallel import DistributedDataParallel

    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # the older name
    options: dict[str, Any] = {name: False}
    return DistributedDataParallel(module, **options)
