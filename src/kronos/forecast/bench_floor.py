"""How fast a forecast could be: what it must compute and read, at the rates that the machine reaches.

The floor is arithmetic on paper, so that a measured time can be told apart from a good one. It knows nothing of how the
engine works; a change there must not move it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kronos.errors import ConfigError
from kronos.forecast.bench_machine import Rates

CACHE_BYTES = 16_000_000
"""Weights below this size stay in the processor's cache from one step to the next."""

_BYTES = {"bfloat16": 2, "int8": 1}  # of a weight; 4 in any other precision
_KEPT = 4  # bytes of a number in a key or a value, whatever the weights are held in


@dataclass(frozen=True)
class Phase:
    """A part of a forecast: what it computes, what it reads, and the least time that takes."""

    name: str
    flops: float
    bytes: float
    seconds: float


@dataclass(frozen=True)
class Floor:
    """The least time of a whole forecast, and its parts."""

    seconds: float
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class Load:
    """What is asked for: networks by their configurations, series by the lengths of look-backs and horizons."""

    network: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    lookbacks: Sequence[int]
    horizons: Sequence[int]
    paths: int
    max_context: int
    precision: str = "float32"


def floor(load: Load, rates: Rates) -> Floor:
    """The least time in which a well-made implementation could forecast.

    The sum over phases of max(operations / gemm rate, bytes / bandwidth), where every step is a phase of its own. The
    bandwidth is the cache's where the phase's weights are below `CACHE_BYTES`, else the memory's. With T bars of
    look-back, H of horizon, S paths, n layers of width d and hidden width f, a bar in a block costs 2 (4 d² + 3 d f)
    operations, and 4 d more for each bar that it sees, itself included. Counted are

        encode   the tokenizer's encoder over T; its weights are never rounded (4 bytes each)
        prefill  the network's layers and the dependency layer's keys and values over T, once a series, and the first
                 choice. A choice is one head (2 d V), the dependency layer's attention (4 d a bar), its output (2 d²)
                 and the other head; the first coarse head is asked once a series
        steps    H - 1 times, for every path: the newest bar through the network, and a choice. All weights are read
                 once for all paths of all series; a look-back's keys and values once a series, a path's own once a path
                 (4 bytes a number). Once the window is full it is read again: what is left of the look-back
                 once a series, then each path's own bars behind it
        decode   the tokenizer's decoder over the look-back in view, in the last layer keys and values only, and over
                 each path's own bars, which alone go through its head

    Not counted, because it is a table look-up or small: embeddings with the layer that joins them, the query of the
    chosen coarse token, the tokens' way into the decoder, norms, rotations, softmax, sampling, activations' traffic.
    """
    if max(load.horizons) > load.max_context:
        raise ConfigError("the floor is counted for horizons within the context")
    steps = [_step(load, rates, step) for step in range(1, max(load.horizons))]
    phases = (_encode(load, rates), _prefill(load, rates), _sum("steps", steps), _decode(load, rates))
    return Floor(sum(phase.seconds for phase in phases), phases)


@dataclass(frozen=True)
class _Stack:
    """Transformer blocks."""

    layers: int
    width: int
    hidden: int

    @property
    def weights(self) -> int:
        """Numbers in its matrices."""
        return self.layers * (4 * self.width**2 + 3 * self.width * self.hidden)

    def flops(self, before: int, new: int) -> int:
        """Of `new` bars that come after `before` others and see them and each other, causally."""
        seen = new * before + new * (new + 1) // 2
        return 2 * new * self.weights + 4 * self.width * self.layers * seen


@dataclass(frozen=True)
class _Writer:
    """The predictor network's part of the counting."""

    stack: _Stack
    coarse: int  # numbers in the coarse head
    fine: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "_Writer":
        width = config["d_model"]
        stack = _Stack(config["n_layers"], width, config["ff_dim"])
        return cls(stack, width * 2 ** config["s1_bits"], width * 2 ** config["s2_bits"])

    @property
    def weights(self) -> int:
        """Numbers that a step reads: blocks, the dependency layer's keys, values and output, both heads."""
        return self.stack.weights + 3 * self.stack.width**2 + self.coarse + self.fine

    def read(self, before: int, new: int) -> int:
        """Operations of bars through all layers, into keys and values of the dependency layer."""
        return self.stack.flops(before, new) + 2 * new * 2 * self.stack.width**2

    def choose(self, seen: int) -> int:
        """Operations of the two choices of a bar that sees `seen` others."""
        width = self.stack.width
        return 2 * (self.coarse + self.fine + width**2) + 4 * width * seen

    def kept(self, bars: int) -> int:
        """Bytes of the keys and values of so many bars."""
        return (self.stack.layers + 1) * 2 * self.stack.width * bars * _KEPT


def _encode(load: Load, rates: Rates) -> Phase:
    config = load.tokenizer
    stack = _Stack(config["n_enc_layers"] - 1, config["d_model"], config["ff_dim"])
    ends = config["d_model"] * (config["d_in"] + config["s1_bits"] + config["s2_bits"])
    flops = sum(2 * length * ends + stack.flops(0, length) for length in load.lookbacks)
    return _phase("encode", flops, 4 * (ends + stack.weights), 0, rates)


def _prefill(load: Load, rates: Rates) -> Phase:
    net, flops = _Writer.of(load.network), 0
    for length in load.lookbacks:
        flops += net.read(0, length) + 2 * net.coarse + load.paths * (net.choose(length) - 2 * net.coarse)
    return _phase("prefill", flops, net.weights * _size(load), 0, rates)


def _step(load: Load, rates: Rates, step: int) -> Phase:
    """Every path's newest bar is read, its `step`-th, and the one after it chosen."""
    net, flops, kept = _Writer.of(load.network), 0, 0
    for length, horizon in zip(load.lookbacks, load.horizons, strict=True):
        if step >= horizon:
            continue
        if length + step <= load.max_context:
            flops += load.paths * (net.read(length + step - 1, 1) + net.choose(length + step))
            kept += net.kept(length + load.paths * step)
        else:
            own = min(step, load.max_context)
            left = load.max_context - own
            flops += net.read(0, left) + load.paths * (net.read(left, own) + net.choose(load.max_context))
    return _phase("step", flops, net.weights * _size(load), kept, rates)


def _decode(load: Load, rates: Rates) -> Phase:
    config, flops = load.tokenizer, 0
    width, layers = config["d_model"], config["n_dec_layers"] - 1
    stack, upper = (_Stack(count, width, config["ff_dim"]) for count in (layers, layers - 1))
    head = width * config["d_in"]
    for length, horizon in zip(load.lookbacks, load.horizons, strict=True):
        before = min(length, load.max_context - horizon)
        if layers:
            flops += upper.flops(0, before) + 2 * before * 2 * width**2
        flops += load.paths * (stack.flops(before, horizon) + 2 * horizon * head)
    return _phase("decode", flops, (stack.weights + head) * _size(load), 0, rates)


def _size(load: Load) -> int:
    return _BYTES.get(load.precision, 4)


def _phase(name: str, flops: float, weights: float, kept: float, rates: Rates) -> Phase:
    bandwidth = rates.cache if weights < CACHE_BYTES else rates.memory
    return Phase(name, flops, weights + kept, max(flops / rates.gemm, (weights + kept) / bandwidth))


def _sum(name: str, parts: Sequence[Phase]) -> Phase:
    return Phase(name, *(sum(getattr(part, what) for part in parts) for what in ("flops", "bytes", "seconds")))
