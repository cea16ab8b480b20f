"""Folded networks as the C library wants them: weights in panels, structs that point at them.

Everything that a struct points at is kept alive beside it, in `held`.
"""

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kronos.forecast.native import library as c
from kronos.forecast.native.memory import Pool, padded
from kronos.model import FoldedKronos, FoldedTokenizer
from kronos.model.folded import FoldedBlocks, Linear, int8_scale
from kronos.model.layers import rotation_at
from kronos.model.network import DEPENDENCY_HEADS

_TYPES = {"float32": (0, torch.float32), "bfloat16": (1, torch.uint16), "int8": (2, torch.int8)}


class Packed:
    """What the structs of both networks have in common: the panels, and the angles of all positions so far."""

    def __init__(self, pool: Pool) -> None:
        """Nothing packed yet; working memory comes from the pool."""
        self.library, self.pool = c.load_library(), pool
        self.panel: int = self.library.kronos_panel()
        self.held: list[Any] = []
        self._turning: list[tuple[Any, str, str, Tensor]] = []
        self.positions = 0
        self._lock = threading.Lock()

    def at(self, tensor: Tensor) -> int:
        """The address of a tensor that is kept."""
        kept = tensor.detach().to("cpu", torch.float32).contiguous()
        self.held.append(kept)
        return kept.data_ptr()

    def linear(self, layer: Linear, precision: str, gate: bool = False) -> c.Linear:
        """A matrix and its bias; the two halves of a gate go panel by panel."""
        weight = layer.weight.detach().to("cpu", torch.float32)
        outputs, inputs = weight.shape
        kind, dtype = _TYPES[precision]
        scale = int8_scale(weight) if precision == "int8" else None
        halves = list(weight.chunk(2)) if gate else [weight]
        panels = -(-len(halves[0]) // self.panel)
        packed = torch.zeros(panels * len(halves) * inputs * self.panel, dtype=dtype)
        for number, half in enumerate(halves):
            whole = half if scale is None else half / scale.view(len(halves), -1, 1)[number]
            whole = whole.contiguous()
            self.library.kronos_pack(whole.data_ptr(), len(half), inputs, kind, number, len(halves), packed.data_ptr())
        self.held.append(packed)
        made = c.Linear(n=panels * self.panel * 2 if gate else outputs, k=inputs, type=kind, weight=packed.data_ptr())
        for name, values in (("bias", layer.bias), ("scale", scale)):
            if values is not None:
                setattr(made, name, self.at(self._by_panel(values.flatten(), len(halves), panels)))
        return made

    def _by_panel(self, values: Tensor, halves: int, panels: int) -> Tensor:
        """One value for each output, padded to whole panels and in their order."""
        padded = torch.zeros(halves, panels, self.panel)
        padded.view(halves, -1)[:, : len(values) // halves] = values.detach().float().view(halves, -1)
        return padded.transpose(0, 1).reshape(-1)

    def stack(self, blocks: FoldedBlocks, width: int, hidden: int, precision: str) -> c.Stack:
        """The struct of a stack of blocks."""
        structs = (c.Block * max(len(blocks.blocks), 1))()
        for struct, block in zip(structs, blocks.blocks, strict=False):
            struct.qkv, struct.out = self.linear(block.qkv, precision), self.linear(block.out, precision)
            struct.gate, struct.down = self.linear(block.gate, precision, gate=True), self.linear(block.down, precision)
        self.held.append(structs)
        first = blocks.blocks[0] if blocks.blocks else None
        return c.Stack(
            count=len(blocks.blocks),
            width=width,
            hidden=hidden,
            heads=first.heads if first else 1,
            eps=first.eps if first else 0.0,
            blocks=ctypes.cast(structs, ctypes.POINTER(c.Block)),
        )

    def turns(self, struct: Any, prefix: str, frequencies: Tensor) -> None:
        """A struct that wants the angles of positions, under `prefix`cosines and `prefix`sines."""
        self._turning.append((struct, f"{prefix}cosines", f"{prefix}sines", frequencies.detach().cpu()))

    def reach(self, positions: int) -> None:
        """Have the angles of at least so many positions."""
        with self._lock:
            if positions <= self.positions:
                return
            reached = max(positions, 2 * self.positions)
            for struct, cosines, sines, frequencies in self._turning:
                for name, angles in zip((cosines, sines), rotation_at(frequencies, 0, reached), strict=True):
                    setattr(struct, name, self.at(angles[:, : len(frequencies)]))
            self.positions = reached  # only now may another caller rely on them


class PackedNetwork(Packed):
    """The predictor network's struct."""

    def __init__(self, folded: FoldedKronos, precision: str, pool: Pool) -> None:
        """Pack the weights."""
        super().__init__(pool)
        width, blocks = folded.width, folded.transformer
        self.width, self.layers = width, folded.cache_layers()
        self.hidden = blocks.blocks[0].down.weight.shape[1] if blocks.blocks else width
        self.s1_size, self.s2_size = len(folded.head_s1.weight), len(folded.head_s2.weight)
        self.times = folded.times
        stack = self.stack(blocks, width, self.hidden, precision)
        stack.eps = folded.eps
        tables = ("s1_table", "s2_table", "query_table", "norm", "dep_norm")
        layers = ("dep_kv", "dep_out", "head_s1", "head_s2")
        self.struct = c.Network(
            blocks=stack,
            s1_size=self.s1_size,
            s2_size=self.s2_size,
            trained=folded.form == "trained",
            **{name: self.at(getattr(folded, name)) for name in tables},
            **{name: self.linear(getattr(folded, name), precision) for name in layers},
        )
        self.turns(self.struct.blocks, "", blocks.frequencies)
        self.turns(self.struct, "dep_", folded.dep_frequencies)
        assert self.layers[-1][0] == DEPENDENCY_HEADS


class PackedTokenizer(Packed):
    """The tokenizer's struct."""

    def __init__(self, folded: FoldedTokenizer, precision: str, pool: Pool) -> None:
        """Pack the weights; the encoder's stay exact."""
        super().__init__(pool)
        self.width, self.bits = folded.width, folded.s1_bits + folded.s2_bits
        self.inputs = len(folded.head.weight)
        self.encoder_layers, self.decoder_layers = folded.encoder.cache_layers(self.width), folded.cache_layers()
        every = [*folded.encoder.blocks, *folded.decoder.blocks]
        self.hidden = every[0].down.weight.shape[1] if every else self.width
        self.struct = c.Tokenizer(
            encoder=self.stack(folded.encoder, self.width, self.hidden, "float32"),
            decoder=self.stack(folded.decoder, self.width, self.hidden, precision),
            inputs=self.inputs,
            s1_bits=folded.s1_bits,
            s2_bits=folded.s2_bits,
            embed=self.linear(folded.embed, "float32"),
            to_bits=self.linear(folded.to_bits, "float32"),
            from_bits=self.linear(folded.from_bits, precision),
            head=self.linear(folded.head, precision),
        )
        self.turns(self.struct.encoder, "", folded.encoder.frequencies)
        self.turns(self.struct.decoder, "", folded.decoder.frequencies)


class Memory:
    """Working memory for so many bars in one call, and the struct that points at it."""

    def __init__(
        self,
        packed: PackedNetwork | PackedTokenizer,
        layers: Sequence[tuple[int, int]],
        bars: int,
        rooms: tuple[int, int],
        threads: int,
        vocabulary: int = 0,
    ) -> None:
        """For `bars` bars in one call; `rooms` are the look-backs' and the paths' largest."""
        width, head = packed.width, max([each for _, each in layers], default=1)
        sizes = [bars * each for each in (width, width, 3 * width, width, packed.hidden)]
        scratch = packed.library.kronos_scratch(width, head, *rooms, vocabulary)
        scratch = -(-scratch // 64) * 64
        self.bars = bars
        sizes.append(scratch * threads)
        arena = packed.pool.lend(sum(map(padded, sizes)), self)
        self._held = [arena.take(size) for size in sizes]
        self.struct = c.Work(*(part.data_ptr() for part in self._held), scratch)
        self.address = ctypes.addressof(self.struct)
