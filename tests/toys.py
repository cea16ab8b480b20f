"""What the tests of training train: a network of one block that learns to add, and one who listens to a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kronos.data import Batch
from kronos.model.layers import Block, Blocks
from kronos.train import Fitted, LoopSettings, Objective, Progress, Stage, fit
from kronos.train.metrics import METRICS_FILE

QUICK: dict[str, Any] = {"lr": 2e-2, "warmup": 5, "validate_every": 10, "save_every": 10, "weight_decay": 0.01}


class Toy(nn.Module):
    """Six numbers a bar in, one out; dropout everywhere, so that random numbers matter."""

    def __init__(self, seed: int = 0, drop: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Linear(6, 8)
        self.transformer = Blocks([Block(8, 2, 12, drop, drop, drop)])
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.transformer.run(self.embed(x)))[..., 0]
        return out


class Adding:
    """The objective: a bar's output is the sum of the logarithms of its inputs."""

    def __init__(self, seed: int = 0, drop: float = 0.1) -> None:
        self.network = Toy(seed, drop)

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        x = torch.from_numpy(batch.bars).log().float()
        error = (network(x) - x.sum(-1)).square().mean()
        return error, {"root": error.sqrt().item()}


class Numbers:
    """A feed of random bars about 1, a function of the batch's number."""

    def __init__(self, size: int = 8, epoch: int = 4) -> None:
        self.size, self.epoch = size, epoch

    def __call__(self, number: int) -> Batch:
        rng = np.random.default_rng(number)
        bars = np.exp(rng.normal(0, 0.5 + number % 3 / 4, (self.size, 4, 6)))
        return Batch(bars, np.zeros((self.size, 4, 5), dtype=np.int8), 2)


numbers = Numbers()
held = [numbers(10**6), numbers(10**6 + 1)]


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ticks: list[Progress] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def tick(self, progress: Progress) -> None:
        self.ticks.append(progress)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def train(objective: Objective, folder: Path, settings: LoopSettings, feed: Any = numbers, **stage: Any) -> Fitted:
    """A run of the loop on numbers."""
    validation = stage.pop("validation", held)
    return fit(objective, feed, validation, settings, Stage("toy", folder, **stage))


def weights(network: nn.Module) -> bytes:
    """All of a network's numbers."""
    return b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in network.state_dict().values())


def log_of(folder: Path) -> list[dict[str, float]]:
    """The figures of a run, without the one that says how busy the machine is."""
    lines = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in lines]
