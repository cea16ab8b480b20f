"""One step of writing as two graphs: from the newest bar to coarse logits; from a coarse token to the fine ones.

Keys and values live in buffers of the caller's, which the graphs take and return as the same memory: nothing is copied
from step to step. Every row's cache begins at 0 and has its own length. The attention operator wants heads whose width
is a multiple of 16, so narrower ones are filled up with zeros, which changes no product.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kronos.extras import require
from kronos.model import FoldedKronos
from kronos.model.folded import FoldedBlock, Linear
from kronos.model.layers import rotation_at

_MICROSOFT = "com.microsoft"
_OPSET, _IR_VERSION = 17, 9  # old enough for every onnxruntime that is allowed
_HEAD_STEP = 16


@dataclass(frozen=True)
class Heads:
    """How one attention layer's heads lie in the graph."""

    count: int
    width: int  # of a head in the network
    frequencies: Tensor | None  # of the rotation, None where nothing is rotated

    @property
    def padded(self) -> int:
        """The width of a head in the graph."""
        return -(-self.width // _HEAD_STEP) * _HEAD_STEP

    def spread(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., padded): each half filled up on its own, because a rotation pairs the halves."""
        half = -(-self.width // 2)
        parts = (x[..., :half], x[..., half:])
        return torch.cat([F.pad(part, (0, self.padded // 2 - part.shape[-1])) for part in parts], dim=-1)

    def outputs(self, linear: Linear) -> Linear:
        """A layer that makes parts of `count` heads each, making padded heads."""
        assert linear.bias is not None
        weight = self.spread(linear.weight.T.reshape(len(linear.weight.T), -1, self.width)).flatten(1).T
        return Linear(weight, self.spread(linear.bias.view(-1, self.width)).flatten())

    def inputs(self, linear: Linear) -> Linear:
        """A layer that reads `count` heads, reading padded heads."""
        return Linear(self.spread(linear.weight.reshape(len(linear.weight), -1, self.width)).flatten(1), linear.bias)

    def rotation(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines (length, padded / 2); what fills the heads up is not turned."""
        assert self.frequencies is not None
        missing = self.padded // 2 - len(self.frequencies)
        cos, sin = rotation_at(F.pad(self.frequencies, (0, missing)), 0, length)
        return cos[:, : self.padded // 2].contiguous(), sin[:, : self.padded // 2].contiguous()


def heads_of(network: FoldedKronos) -> list[Heads]:
    """Every attention layer's heads; the last are the dependency layer's."""
    *layers, last = network.cache_layers()
    turned = network.dep_frequencies if network.form == "trained" else None
    return [*(Heads(*layer, network.transformer.frequencies) for layer in layers), Heads(*last, turned)]


@dataclass(frozen=True)
class StepGraph:
    """A graph without its weights, as onnxruntime takes it from memory, and the weights by name."""

    model: bytes
    weights: dict[str, NDArray[Any]]


class _Builder:
    """Collects nodes; every method returns the name of what it made."""

    def __init__(self, window: int | None) -> None:
        self._onnx, self._window = require("onnx", extra="onnx"), window
        self._types = self._onnx.TensorProto
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self.weights: dict[str, NDArray[Any]] = {}

    def input(self, name: str, shape: list[int | str], kind: str = "FLOAT") -> str:
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, getattr(self._types, kind), shape))
        return name

    def output(self, name: str, shape: list[int | str]) -> str:
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, self._types.FLOAT, shape))
        return name

    def weight(self, value: Tensor) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(value.detach().float().numpy())
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> str:
        outputs = outputs or [f"t{len(self._nodes)}"]
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def gather(self, table: Tensor, index: str) -> str:
        return self.node("Gather", [self.weight(table), index])

    def linear(self, linear: Linear, x: str, *, biased: bool = True) -> str:
        out = self.node("MatMul", [x, self.weight(linear.weight.T)])
        return out if linear.bias is None or not biased else self.node("Add", [out, self.weight(linear.bias)])

    def norm(self, x: str, weight: str, eps: float) -> str:
        return self.node("SimplifiedLayerNormalization", [x, weight], axis=-1, epsilon=eps)

    def added(self, x: str, delta: str, weight: str, eps: float, bias: Tensor | None = None) -> tuple[str, str]:
        """The norm of x + delta + bias, and the sum itself."""
        out, total = f"n{len(self._nodes)}", f"x{len(self._nodes)}"
        inputs = [x, delta, weight] if bias is None else [x, delta, weight, self.weight(bias)]
        outputs = [out, "", "", total]
        self.node("SkipSimplifiedLayerNormalization", inputs, outputs, domain=_MICROSOFT, epsilon=eps)
        return out, total

    def positions(self) -> None:
        """How many bars each row has before the newest one, and all bars of the longest row."""
        self.input("past", ["rows"], "INT32")
        self.input("total", [], "INT32")

    def attend(self, number: int, heads: Heads, queries: str, keys: str = "", values: str = "") -> str:
        """Append the newest keys and values to cache `number` and attend to it: (rows, 1, heads * padded)."""
        shape: list[int | str] = ["rows", heads.count, "capacity", heads.padded]
        old = [self.input(f"{part}{number}", shape) for part in ("keys", "values")]
        new = [self.output(f"new_{part}{number}", shape) for part in ("keys", "values")]
        turned = heads.frequencies is not None
        inputs = [queries, keys, values, *old, "past", "total", *(["cos", "sin"] if turned else [])]
        options: dict[str, Any] = {"do_rotary": 1, "rotary_interleaved": 0} if turned else {}
        if self._window is not None:
            options["local_window_size"] = self._window
        return self.node(
            "GroupQueryAttention",
            inputs,
            [f"attended{number}", *new],
            domain=_MICROSOFT,
            num_heads=heads.count,
            kv_num_heads=heads.count,
            scale=heads.width**-0.5,
            **options,
        )

    def rotation(self, heads: Heads) -> None:
        for name in ("cos", "sin"):
            self.input(name, ["positions", heads.padded // 2])

    def finish(self) -> StepGraph:
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, "step", self._inputs, self._outputs, self._declared())
        versions = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=_IR_VERSION)
        return StepGraph(model.SerializeToString(), self.weights)

    def _declared(self) -> list[Any]:
        """Weights are named as if they lay in a file; handed over beside the graph they may be of any size."""
        declared = []
        for name, value in self.weights.items():
            kind = self._onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
            tensor = self._types(name=name, dims=value.shape, data_type=kind, data_location=self._types.EXTERNAL)
            tensor.external_data.add(key="location", value="beside")
            declared.append(tensor)
        return declared


def reading_graph(network: FoldedKronos, window: int | None = None) -> StepGraph:
    """From tokens s1, s2 (rows, 1) and `times` (rows, 1, d) to `context` (rows, 1, d) and `logits` (rows, 1, V).

    A bar sees the newest `window` bars, itself included, or all.
    """
    graph, layers, width = _Builder(window), heads_of(network)[:-1], network.width
    tokens = [graph.input(name, ["rows", 1], "INT64") for name in ("s1", "s2")]
    times = graph.input("times", ["rows", 1, width])
    graph.positions()
    if layers:
        graph.rotation(layers[0])
    tables = (network.s1_table, network.s2_table)
    both = graph.node("Add", [graph.gather(table, name) for table, name in zip(tables, tokens, strict=True)])
    x, delta = graph.node("Add", [both, times]), ""
    ones = graph.weight(torch.ones(width))  # the norms' own weights are part of the matrices behind them
    for number, (block, heads) in enumerate(zip(network.transformer.blocks, layers, strict=True)):
        x, delta = _block(graph, block, heads, number, x, delta, ones)
    last = graph.weight(network.norm)
    context = graph.added(x, delta, last, network.eps)[0] if delta else graph.norm(x, last, network.eps)
    graph.node("Identity", [context], [graph.output("context", ["rows", 1, width])])
    logits = graph.linear(network.head_s1, context)
    graph.node("Identity", [logits], [graph.output("logits", ["rows", 1, len(network.head_s1.weight)])])
    return graph.finish()


def _block(
    graph: _Builder, block: FoldedBlock, heads: Heads, number: int, x: str, delta: str, ones: str
) -> tuple[str, str]:
    """One layer behind x + delta; its own sum is left to the next norm, too."""
    if delta:
        normed, x = graph.added(x, delta, ones, block.eps)
    else:
        normed = graph.norm(x, ones, block.eps)
    attended = graph.attend(number, heads, graph.linear(heads.outputs(block.qkv), normed))
    out = heads.inputs(block.out)
    normed, x = graph.added(x, graph.linear(out, attended, biased=False), ones, block.eps, out.bias)
    first, second = (graph.linear(Linear(part), normed) for part in block.gate.weight.chunk(2))
    # x * sigmoid(x) under the name by which onnxruntime has it in one operator
    gate = graph.node("QuickGelu", [first], domain=_MICROSOFT, alpha=1.0)
    return x, graph.linear(block.down, graph.node("Mul", [gate, second]))


def choosing_graph(network: FoldedKronos, window: int | None = None) -> StepGraph:
    """From `context` (rows, 1, d) and a coarse token `s1` (rows, 1) to fine `logits` (rows, 1, V)."""
    graph, heads, width = _Builder(window), heads_of(network)[-1], network.width
    context, token = graph.input("context", ["rows", 1, width]), graph.input("s1", ["rows", 1], "INT64")
    graph.positions()
    if heads.frequencies is not None:
        graph.rotation(heads)
    table = network.query_table
    queries = graph.gather(heads.spread(table.view(len(table), -1, heads.width)).flatten(1), token)
    assert network.dep_kv.bias is not None
    weights, biases = network.dep_kv.weight.chunk(2), network.dep_kv.bias.chunk(2)
    keys, values = (
        graph.linear(heads.outputs(Linear(weight, bias)), context) for weight, bias in zip(weights, biases, strict=True)
    )
    attended = graph.attend(0, heads, queries, keys, values)
    out = heads.inputs(network.dep_out)
    merged, _ = graph.added(
        context, graph.linear(out, attended, biased=False), graph.weight(network.dep_norm), network.eps, out.bias
    )
    logits = graph.linear(network.head_s2, merged)
    graph.node("Identity", [logits], [graph.output("logits", ["rows", 1, len(network.head_s2.weight)])])
    return graph.finish()
