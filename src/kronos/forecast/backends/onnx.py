"""The backend "onnx": torch reads look-backs and decodes bars, onnxruntime writes bar by bar. On a CPU.

A step is two runs of a graph with all weights prepared, instead of hundreds of small torch operations. The caches are
memory of the writer's that onnxruntime reads and appends to, and what changes from step to step lies in arrays that it
knows of, so nothing is handed over again until rows drop out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kronos.errors import ConfigError
from kronos.extras import require
from kronos.forecast.backends.eager import EagerBackend
from kronos.forecast.backends.onnx_graph import StepGraph, choosing_graph, heads_of, reading_graph
from kronos.forecast.backends.onnx_steps import Steps, StepShape
from kronos.forecast.backends.protocol import Lookback, Writer
from kronos.forecast.backends.writers import EagerWriter
from kronos.forecast.sampling import Sampler
from kronos.model import Kronos, KronosTokenizer

_COPIES = 1 << 28
"""Bytes of look-backs that are repeated for every path. The graphs know no shared look-back; where repeating one means
fetching more than this at every step, torch, which shares it, is as fast."""
_ERRORS = 3  # what is logged; some processors make onnxruntime warn of itself


class OnnxBackend(EagerBackend):
    """Folded networks in torch, their steps in onnxruntime."""

    name = "onnx"

    def __init__(self, network: Kronos, tokenizer: KronosTokenizer, precision: str = "float32") -> None:
        """Fold both networks as they are now; sessions are made when the first bar is to be written."""
        self._runtime = require("onnxruntime", extra="onnx")
        require("onnx", extra="onnx")
        device = next(network.parameters()).device
        if device.type != "cpu":
            raise ConfigError(f"the backend 'onnx' runs on a CPU, and this network is on '{device}'")
        super().__init__(network, tokenizer, precision)
        self._sessions: dict[int | None, tuple[Any, Any]] = {}

    def writer(  # type: ignore[override]  # it writes like the other, and is none
        self, lookbacks: Sequence[Lookback], paths: int, room: int, limit: int
    ) -> "OnnxWriter":
        """Look-backs to be read and branched into `paths` rows each."""
        return OnnxWriter(self, _Task(lookbacks, paths, room, limit))

    def eager_writer(self, task: "_Task") -> EagerWriter:
        """Read look-backs for torch to go on."""
        return super().writer(task.lookbacks, task.paths, task.room, task.limit)

    def steps(self, task: "_Task") -> Steps:
        """Read look-backs for onnxruntime to go on."""
        net, lengths = self.network, [len(one.s1) for one in task.lookbacks]
        shape = StepShape(lengths, task.paths, task.room)
        steps = Steps(net, shape, self.sessions(task.limit if shape.capacity > task.limit else None))
        for first, stop in self._alike(lengths):
            some, length = task.lookbacks[first:stop], lengths[first]
            s1, s2 = torch.stack([one.s1 for one in some]), torch.stack([one.s2 for one in some])
            stamps = torch.stack([one.stamps[:length] for one in some])
            steps.remember(first, net.read(s1, s2, stamps, steps.lookbacks(length), first))
        after = [one.stamps[length : length + task.room] for one, length in zip(task.lookbacks, lengths, strict=True)]
        steps.times = net.times(torch.stack(after))
        return steps

    def pays(self, task: "_Task") -> bool:
        """Whether onnxruntime is faster than torch at writing bar by bar behind these look-backs."""
        lengths = [len(one.s1) for one in task.lookbacks]
        if not task.room or not min(lengths):
            return False
        bar = 8 * sum(heads.count * heads.padded for heads in heads_of(self.network))  # float32 keys and values
        return task.paths == 1 or bar * task.paths * sum(lengths) <= _COPIES

    def sessions(self, window: int | None) -> tuple[Any, Any]:
        """What reads a bar and what makes fine logits, for bars that see the newest `window` bars or all."""
        if window not in self._sessions:
            graphs = (reading_graph(self.network, window), choosing_graph(self.network, window))
            self._sessions[window] = (_session(self._runtime, graphs[0]), _session(self._runtime, graphs[1]))
        return self._sessions[window]


@dataclass(frozen=True)
class _Task:
    """What a writer was asked for."""

    lookbacks: Sequence[Lookback]
    paths: int
    room: int
    limit: int


class OnnxWriter:
    """Reads its look-backs when it hears what follows them: bar after bar, or several bars once and no more."""

    def __init__(self, backend: OnnxBackend, task: _Task) -> None:
        """A writer that has read nothing yet."""
        self._backend, self._task = backend, task
        self._way: Writer | None = None

    def next(self, s1: Tensor, s2: Tensor, uniforms: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
        """Read the newest bars (rows, Q) and choose the bars after them."""
        if self._way is None:
            one_by_one = s1.shape[1] == 0 and self._backend.pays(self._task)
            self._way = self._backend.steps(self._task) if one_by_one else self._backend.eager_writer(self._task)
        return self._way.next(s1, s2, uniforms, sampler)


def _session(runtime: ModuleType, graph: StepGraph) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = _ERRORS
    # threads that wait for the next run by spinning would take the processors from torch
    options.add_session_config_entry("session.force_spinning_stop", "1")
    values = [runtime.OrtValue.ortvalue_from_numpy(weight) for weight in graph.weights.values()]
    options.add_external_initializers(list(graph.weights), values)
    return runtime.InferenceSession(graph.model, options, providers=["CPUExecutionProvider"])
