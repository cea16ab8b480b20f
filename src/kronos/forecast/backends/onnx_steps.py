"""Steps in onnxruntime: the two graphs of `onnx_graph` bound to memory that stays where it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kronos.forecast.backends.choosing import choose
from kronos.forecast.backends.onnx_graph import Heads, heads_of
from kronos.forecast.sampling import Sampler
from kronos.model import Cache, CacheShape, FoldedKronos
from kronos.model.cache import LayerCache


@dataclass(frozen=True)
class StepShape(CacheShape):
    """The sizes of caches in which every row has its look-back to itself."""

    @property
    def rows(self) -> int:
        """All paths of all series."""
        return len(self.lengths) * self.paths

    @property
    def capacity(self) -> int:
        """Bars of a row."""
        return self.longest + self.room


class _LayerMemory(LayerCache):
    """One layer's keys and values as the graphs want them: (rows, heads, capacity, padded), each row from 0 on."""

    def __init__(self, shape: StepShape, heads: Heads) -> None:
        self._paths, self._heads = shape.paths, heads
        self.parts = [torch.empty(shape.rows, heads.count, shape.capacity, heads.padded) for _ in range(2)]

    def remember(self, first: int, keys: Tensor, values: Tensor) -> None:
        series, _, length, _ = keys.shape
        for part, new in zip(self.parts, (keys, values), strict=True):
            some = part.view(-1, self._paths, *part.shape[1:])[first : first + series]
            some[:, :, :, :length] = self._heads.spread(new)[:, None]


class _Lookbacks(Cache):
    """What the network fills when it reads equally long look-backs, whose positions all count from 0."""

    def __init__(self, length: int, layers: Sequence[LayerCache]) -> None:
        self.shape, self.filled, self.start, self.layers = CacheShape([length], 1, 0), 0, 0, list(layers)


class Steps:
    """Writes bar by bar; a step is one run of the reading graph and one of the choosing graph."""

    def __init__(self, network: FoldedKronos, shape: StepShape, sessions: tuple[Any, Any]) -> None:
        """Memory for rows whose look-backs are still to be read, each behind its own."""
        heads, rows = heads_of(network), shape.rows
        self._shape, self._sessions, self._network = shape, sessions, network
        self.times = torch.empty(0)  # (N, room, d) what goes with the bars to come
        self._filled = 0
        self._past = np.repeat(np.array(shape.lengths, dtype=np.int32), shape.paths) - 1  # bars before the newest
        self._total = np.zeros((), dtype=np.int32)
        self._s1, self._s2, self._coarse = (np.zeros((rows, 1), dtype=np.int64) for _ in range(3))
        self._added, self._context = (np.zeros((rows, 1, network.width), dtype=np.float32) for _ in range(2))
        sizes = [len(head.weight) for head in (network.head_s1, network.head_s2)]
        self._logits = [np.zeros((rows, 1, size), dtype=np.float32) for size in sizes]
        self._memory = [_LayerMemory(shape, layer) for layer in heads]
        self._rotations = [
            [part.numpy() for part in layer.rotation(shape.capacity)] if layer.frequencies is not None else []
            for layer in (heads[0], heads[-1])
        ]
        self._rows, self._runs = 0, [session.io_binding() for session in sessions]

    def lookbacks(self, length: int) -> Cache:
        """Where the network puts look-backs of this length."""
        return _Lookbacks(length, self._memory)

    def remember(self, first: int, context: Tensor) -> None:
        """The contexts (n, 1, d) of the last bars of the series from number `first` on."""
        paths = self._shape.paths
        self._context[first * paths : (first + len(context)) * paths] = context.repeat_interleave(paths, dim=0).numpy()
        logits = self._network.s1_logits(context).repeat_interleave(paths, dim=0)
        self._logits[0][first * paths : (first + len(context)) * paths, 0] = logits.numpy()

    def next(self, s1: Tensor, s2: Tensor, uniforms: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
        """Read the newest bars (rows, Q) and choose the bars after them."""
        rows, length = s1.shape
        self._go_on_with(rows)
        numbers = uniforms.numpy()
        for bar in range(length):
            self._read(s1[:, bar], s2[:, bar])
            if bar < length - 1:
                self._run(1)  # the dependency layer remembers each bar; no choice follows this one
        coarse = choose(sampler, self._logits[0][:rows, 0], numbers[:, 0])
        self._coarse[:rows, 0] = coarse
        self._run(1)
        fine = choose(sampler, self._logits[1][:rows, 0], numbers[:, 1])
        return torch.from_numpy(coarse), torch.from_numpy(fine)

    def _read(self, s1: Tensor, s2: Tensor) -> None:
        """Read one more bar (rows,)."""
        rows, paths = self._rows, self._shape.paths
        self._past += 1
        self._s1[:rows, 0], self._s2[:rows, 0] = s1.numpy(), s2.numpy()
        times = self.times[: rows // paths, self._filled].numpy()
        self._added[:rows, 0] = times if paths == 1 else times.repeat(paths, axis=0)
        self._filled += 1
        self._run(0)

    def _run(self, number: int) -> None:
        self._total[...] = self._past[: self._rows].max() + 1
        self._sessions[number].run_with_iobinding(self._runs[number])

    def _go_on_with(self, rows: int) -> None:
        """Only the first rows take part from now on."""
        if rows == self._rows:
            return
        self._rows = rows
        context, past = self._context, self._past
        inputs: list[dict[str, NDArray[Any]]] = [
            {"s1": self._s1, "s2": self._s2, "times": self._added, "past": past},
            {"s1": self._coarse, "context": context, "past": past},
        ]
        outputs = [{"context": context, "logits": self._logits[0]}, {"logits": self._logits[1]}]
        memory = [self._memory[:-1], self._memory[-1:]]
        for number, run in enumerate(self._runs):
            run.clear_binding_inputs()
            run.clear_binding_outputs()
            for name, array in inputs[number].items():
                _bind(run.bind_input, name, array[:rows])
            for name, array in outputs[number].items():
                _bind(run.bind_output, name, array[:rows])
            _bind(run.bind_input, "total", self._total)
            for name, array in zip(("cos", "sin"), self._rotations[number], strict=False):
                _bind(run.bind_input, name, array)
            for layer, kept in enumerate(memory[number]):
                for name, part in zip(("keys", "values"), kept.parts, strict=True):
                    _bind(run.bind_input, f"{name}{layer}", part[:rows].numpy())
                    _bind(run.bind_output, f"new_{name}{layer}", part[:rows].numpy())


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    """Bind memory as it is; what it belongs to must live as long as the binding."""
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
