"""Which weights of a network are trained, and how fast.

Two networks are meant, and what is built around them: the predictor and the tokenizer. Of both it is known only that
they consist of stacks of blocks and that modules are registered in the order in which data pass through them. What is
registered before a stack lies below its first block, what comes after a stack lies behind its last one. The tokenizer
is one tower of two stacks: its decoder stands on its encoder.
"""

import copy
import difflib
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field
from torch import nn

from kronos.config import Settings
from kronos.errors import ConfigError
from kronos.model.layers import Block, Blocks
from kronos.model.network import TemporalEmbedding
from kronos.train.lora import Targets, adapt, fold_in, is_adapted, linears

Network = TypeVar("Network", bound=nn.Module)


class Tuning(Settings):
    """What is trained of a network that exists already, and how the rate falls towards its input.

    Names in `also` and `freeze` are those of the weights file. A name stands for everything below it, and * for any
    letters: "head", "transformer.0", "*.bias".
    """

    what: Literal["all", "last", "lora", "none"] = "all"
    """"last": the top blocks and everything behind them. Of a tokenizer these are its decoder's blocks and its head,
    never its encoder: bars keep their tokens, and a predictor that knows them stays right. "lora": low-rank changes to
    the matrices inside the blocks. "none": only what `also` names."""
    layers: Annotated[int, Field(ge=0)] = 2
    """Of "last": so many blocks, or all where there are fewer; with 0 only what is behind them."""
    rank: Annotated[int, Field(ge=1)] = 8
    """Of "lora": dimensions of a matrix's change."""
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 16.0
    """Of "lora": the change counts alpha / rank times."""
    targets: Targets = "all"
    """Of "lora": which matrices; the attention's four (the dependency layer's too), the feed-forward layers' three, or
    both. In a tokenizer they are the encoder's as well, so tokens change unless `freeze` names "encoder"."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of "lora": dropout of what the changes are computed from."""
    also: tuple[str, ...] = ()
    """Names of weights to train in full beside what is chosen."""
    freeze: tuple[str, ...] = ()
    """Names of weights to leave alone whatever else is said; they get no adapters either."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The rate of a block is this times that of the block above it. The top block and everything behind it have the
    full rate; embeddings count as below the first block. What lies between a tokenizer's stacks has the rate of the
    encoder's top block."""


class _Place(NamedTuple):
    """Where in the tower a weight lies."""

    depth: int  # blocks that have begun, 0 below the first
    stack: int  # stacks that have begun
    inside: bool  # of a block, neither before nor behind one


def prepare(network: nn.Module, tuning: Tuning, seed: int) -> None:
    """Choose the weights that are trained, in place: set `requires_grad` of all, and put adapters in for "lora".

    The network computes what it did before. The adapters are a function of the seed, equal in every process.
    """
    if is_adapted(network):
        raise ConfigError(f"this {_kind(network)} has adapters already; prepare a network without, or `merged` of it")
    weights, fixed = dict(network.named_parameters()), _fixed(network)
    also = _named(network, tuning.also, weights.keys() - fixed, "also")
    freeze = _named(network, tuning.freeze, weights.keys(), "freeze")
    trained = (_chosen(network, tuning) | also) - freeze - fixed
    if tuning.what == "lora":
        whole = trained | freeze
        layers = {name: one for name, one in linears(network, tuning.targets).items() if f"{name}.weight" not in whole}
        adapt(network, layers, tuning.rank, tuning.alpha, tuning.lora_dropout, seed)
    for name, weight in weights.items():
        weight.requires_grad_(name in trained)


def parameter_groups(network: nn.Module, tuning: Tuning, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser, of what `prepare` has chosen: "params" and their "names", "weight_decay", "scale".

    Matrices decay; norms, biases and embedding tables do not. `scale` is what the learning rate is multiplied by.
    """
    tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    places = _places(network)
    top = max((place.depth for place in places.values()), default=0)
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            continue
        decays, scale = weight.ndim > 1 and id(weight) not in tables, tuning.layer_decay ** (top - places[name].depth)
        begun = {"params": [], "names": [], "weight_decay": weight_decay if decays else 0.0, "scale": scale}
        group = groups.setdefault((decays, scale), begun)
        group["params"].append(weight)
        group["names"].append(name)
    if not groups:
        frozen = f", tuning.freeze names {', '.join(tuning.freeze)}" if tuning.freeze else ""
        raise ConfigError(f"no weight of this {_kind(network)} would be trained (tuning.what is {tuning.what}{frozen})")
    return list(groups.values())


def merged(network: Network) -> Network:
    """A plain copy with adapters multiplied into the weights: the keys of a fresh network, in evaluation mode.

    It can be saved, fingerprinted, folded, or prepared again.
    """
    plain = copy.deepcopy(network)
    fold_in(plain)
    fixed = _fixed(plain)
    for name, weight in plain.named_parameters():
        weight.requires_grad_(name not in fixed)
    return plain.eval()


def describe(network: nn.Module) -> str:
    """How much of a network is trained, in words."""
    every = [(weight.numel(), weight.requires_grad) for weight in network.parameters()]
    trained = sum(count for count, wanted in every if wanted)
    return f"trains {trained:,} of {sum(count for count, _ in every):,} weights"


def _chosen(network: nn.Module, tuning: Tuning) -> set[str]:
    """Names of the weights that are trained in full, going by `what` alone."""
    places = _places(network)
    if tuning.what == "all":
        return set(places)
    if tuning.what == "last":
        stacks = sum(isinstance(module, Blocks) for module in network.modules())
        if not stacks:
            raise ConfigError(f"tuning.what is last, but this {_kind(network)} has no blocks to count from its end")
        lowest = sum(isinstance(module, Block) for module in network.modules()) - tuning.layers + 1
        behind = {name: place for name, place in places.items() if place.stack == stacks}
        return {name for name, place in behind.items() if not place.inside or place.depth >= lowest}
    if tuning.what == "lora" and not linears(network, tuning.targets):
        raise ConfigError(f"tuning.what is lora, but this {_kind(network)} has no blocks whose matrices it could adapt")
    return set()


def _places(network: nn.Module) -> dict[str, _Place]:
    """Every weight's place, by its name."""
    places: dict[str, _Place] = {}
    depth, stack, block = 0, 0, "."  # no name begins with a dot
    for name, module in network.named_modules():
        stack += isinstance(module, Blocks)
        if isinstance(module, Block):
            depth, block = depth + 1, f"{name}."
        inside = f"{name}.".startswith(block)
        places |= {key: _Place(depth, stack, inside) for key, _ in module.named_parameters(name, recurse=False)}
    return places


def _fixed(network: nn.Module) -> set[str]:
    """Names of the sinusoids that stand in for learned tables of time: saved like weights, never trained."""
    return {
        f"{name}.{field}.{key}".lstrip(".")
        for name, module in network.named_modules()
        if isinstance(module, TemporalEmbedding)
        for field, table in module.named_children()
        if not isinstance(table, nn.Embedding)
        for key, _ in table.named_parameters()
    }


def _named(network: nn.Module, patterns: Collection[str], names: Collection[str], key: str) -> set[str]:
    """The names that patterns stand for; a pattern that finds none is an error."""
    found: set[str] = set()
    for pattern in patterns:
        some = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not some:
            parts = sorted({name.partition(".")[0] for name in names})
            near = difflib.get_close_matches(pattern, [*parts, *names], n=1)
            hint = f", did you mean '{near[0]}'?" if near else f"; its parts are {', '.join(parts)}"
            raise ConfigError(f"tuning.{key}: '{pattern}' names no weight to train in this {_kind(network)}{hint}")
        found |= some
    return found


def _kind(network: nn.Module) -> str:
    return type(network).__name__
