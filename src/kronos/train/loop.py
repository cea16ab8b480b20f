"""The one training loop: steps, schedule, clipping, validation, checkpoints.

Batches are a function of the step alone and everything else that moves is in the checkpoint, so a run that was
stopped goes on where it was and ends with the same numbers.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from kronos.config import Settings
from kronos.data import Batch
from kronos.errors import CheckpointError, ConfigError, KronosError
from kronos.train.objectives import Objective
from kronos.writing import replacing

CHECKPOINT_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.jsonl"


class LoopSettings(Settings):
    """How long and how fast."""

    steps: int = 2000
    lr: float = 2e-3
    warmup: int = 100
    final_lr: float = 0.02  # of the peak, where the cosine ends
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    validate_every: int = 200
    save_every: int = 100


def fit(
    objective: Objective,
    batches: Callable[[int], Batch],
    validation: Sequence[Batch],
    settings: LoopSettings,
    folder: Path,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, float]:
    """Train `objective.network` in place, resuming from `folder` where a checkpoint lies; the last figures."""
    if not validation:
        raise ConfigError("there is no validation batch; a network whose losses nobody looks at is not worth training")
    network = objective.network
    optimiser = torch.optim.AdamW(_groups(network, settings.weight_decay), lr=settings.lr, betas=settings.betas)
    folder.mkdir(parents=True, exist_ok=True)
    done = _resume(folder / CHECKPOINT_FILE, network, optimiser, settings)
    _keep_lines(folder / METRICS_FILE, done)
    if done:
        report(f"resuming after step {done}")
    figures: dict[str, float] = {}
    began, seen = time.monotonic(), 0
    for step in range(done, settings.steps):
        torch.manual_seed(step)  # dropout, and coarse tokens that are sampled
        rate = learning_rate(step, settings)
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = batches(step)
        network.train()
        loss, parts = objective.loss(batch)
        if not math.isfinite(loss.item()):
            raise KronosError(f"step {step}: the loss is {loss.item()}; the last good checkpoint is in {folder}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimiser.step()
        seen += batch.bars.shape[0] * batch.bars.shape[1]
        line: dict[str, Any] = {"step": step + 1, "lr": rate, "loss": loss.item(), **parts}
        last = step + 1 == settings.steps
        if last or (step + 1) % settings.validate_every == 0:
            figures = validate(objective, validation)
            line |= {f"val_{key}": value for key, value in figures.items()}
        with (folder / METRICS_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if last or (step + 1) % settings.save_every == 0:
            _save(folder / CHECKPOINT_FILE, network, optimiser, settings, step + 1)
        if last or (step + 1) % 20 == 0 or any(key.startswith("val_") for key in line):
            speed = seen / (time.monotonic() - began)
            left = (settings.steps - step - 1) * (time.monotonic() - began) / (step + 1 - done)
            shown = "  ".join(f"{k} {v:.4f}" for k, v in line.items() if k not in ("step", "lr"))
            report(f"step {step + 1}/{settings.steps}  {shown}  {speed:,.0f} bars/s  {left / 60:.1f} min left")
    return figures or validate(objective, validation)


@torch.no_grad()
def validate(objective: Objective, batches: Sequence[Batch]) -> dict[str, float]:
    """Mean loss and figures over batches, in evaluation mode."""
    objective.network.eval()
    sums: dict[str, float] = {}
    for number, batch in enumerate(batches):
        torch.manual_seed(number)
        loss, parts = objective.loss(batch)
        for key, value in {"loss": loss.item(), **parts}.items():
            sums[key] = sums.get(key, 0.0) + value / len(batches)
    return sums


def learning_rate(step: int, settings: LoopSettings) -> float:
    """Linear warm-up from a tenth of the peak, then a cosine."""
    if step < settings.warmup:
        return settings.lr * (0.1 + 0.9 * step / settings.warmup)
    along = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * 0.5 * (1 + math.cos(math.pi * along)))


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices decay; norms, biases and embedding tables do not."""
    tables = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    trained = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1 and id(p) not in tables]
    others = [p for p in trained if p.ndim <= 1 or id(p) in tables]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _save(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, settings: LoopSettings, step: int) -> None:
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
    with replacing(path) as temporary:
        torch.save({"step": step, "settings": settings.tree(), **state}, temporary)


def _resume(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, settings: LoopSettings) -> int:
    """Steps already done, with network and optimiser put back to where they were."""
    if not path.exists():
        return 0
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        before, step = saved["settings"], int(saved["step"])
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, OSError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: does not belong to this run ({reason}); choose another folder") from error
    changed = [key for key, value in settings.tree().items() if before.get(key) != value]
    if changed:
        what = ", ".join(f"{key} {before.get(key)} -> {settings.tree()[key]}" for key in changed)
        raise ConfigError(
            f"{path}: this run was begun with other settings ({what}); keep them or choose another folder"
        )
    return step


def _keep_lines(path: Path, done: int) -> None:
    """Drop the lines of steps that a killed run logged after its last checkpoint and that will be done again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    with replacing(path) as temporary:
        temporary.write_text("".join(line for line in lines[:done] if line.endswith("\n")), encoding="utf-8")
