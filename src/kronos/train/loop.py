"""The one training loop: steps, schedule, clipping, averages, validation, checkpoints.

A batch is a function of its number, random numbers are seeded by it, and everything else that moves is in the
checkpoint, so a run that was stopped anywhere goes on where it was and ends with the same numbers. Batches are
numbered over the whole run: step s of R processes that accumulate A reads the numbers from s A R on, each process every
R-th one, so two processes read what one would that accumulates twice as many.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kronos.data import Batch
from kronos.errors import CheckpointError, ConfigError, KronosError
from kronos.model.layers import Blocks
from kronos.train.checkpoints import Keeper, State
from kronos.train.feeds import Feed, ahead
from kronos.train.metrics import MetricsLog
from kronos.train.objectives import Objective
from kronos.train.optimisers import make_optimisers
from kronos.train.plot import overfitting
from kronos.train.ranks import Ranks
from kronos.train.reporting import Progress, Reporter, Silent
from kronos.train.schedule import calm_share, rate_share, volatility_of
from kronos.train.settings import LoopSettings
from kronos.train.sharding import shared_out
from kronos.train.stopping import Stop, StoppedError, listening
from kronos.train.trackers import open_trackers
from kronos.train.tuning import Tuning, merged, parameter_groups

Rollouts = Callable[[nn.Module], Mapping[str, float]]
"""Scores a network by forecasts: figures by name, "crps" among them."""

_LOOKED_AT = 64  # batches from which the data's own volatility is read


@dataclass
class Best:
    """The best validation so far."""

    value: float = math.inf
    step: int = -1
    since: int = 0  # validations


@dataclass
class Fitted:
    """How a stage ended."""

    step: int
    steps: int
    reason: str  # "all steps", or why it ended before
    best: Best
    figures: dict[str, float]
    """Of the last validation."""
    overfitting: str | None
    seconds: float
    tokens_per_second: float


@dataclass
class Stage:
    """What a run of the loop needs to know beside its settings."""

    name: str
    folder: Path
    seed: int = 0
    tuning: Tuning = field(default_factory=Tuning)
    rollouts: Rollouts | None = None
    ranks: Ranks = field(default_factory=Ranks)
    reporter: Reporter = field(default_factory=Silent)
    trackers: Sequence[str] = ()
    run: str = ""
    """What the trackers call the run that this is a stage of."""
    tree: Mapping[str, Any] = field(default_factory=dict)
    """All settings of the run, for the trackers to show."""
    tokens_per_bar: int = 2


def fit(objective: Objective, feed: Feed, validation: Sequence[Batch], settings: LoopSettings, stage: Stage) -> Fitted:
    """Train `objective.network` in place, resuming from the stage's folder where a checkpoint lies.

    The network ends with the best weights or the last ones, as `settings.keep` says.
    """
    return _Run(objective, feed, validation, settings, stage).go()


class _Run:
    """One stage of training: its network, its optimisers, and where it is."""

    def __init__(
        self, objective: Objective, feed: Feed, validation: Sequence[Batch], settings: LoopSettings, stage: Stage
    ) -> None:
        if not validation:
            raise ConfigError(
                "there is no validation batch; a network whose losses nobody looks at is not worth training"
            )
        if settings.metric == "crps" and (stage.rollouts is None or not settings.score_every):
            raise ConfigError("metric 'crps' needs a score of rollouts, and score_every above 0")
        self.objective, self.feed, self.validation = objective, feed, validation
        self.settings, self.stage, self.ranks = settings, stage, stage.ranks
        self.each = settings.accumulate * stage.ranks.count  # batches of a step
        self.steps = settings.steps or math.ceil((settings.epochs or 1) * feed.epoch / self.each)
        self.sharing = shared_out(objective, settings, stage.ranks)
        self.network = self.sharing.network
        for module in self.network.modules():
            if isinstance(module, Blocks):
                module.checkpointing = settings.checkpointing
        groups = parameter_groups(self.network, stage.tuning, settings.weight_decay)
        self.optimisers = make_optimisers(self.network, groups, settings)
        self.trained = [
            weight for optimiser in self.optimisers for g in optimiser.param_groups for weight in g["params"]
        ]
        self.average = self.sharing.another() if settings.ema else None
        self.keeper = Keeper(stage.folder, settings.keep_last)
        self.best, self.step, self.reason = Best(), 0, ""
        self.figures: dict[str, float] = {}
        self.volatility: float | None = None
        self.log: MetricsLog | None = None

    # --- the run -------------------------------------------------------------------------------------------------

    def go(self) -> Fitted:
        resumed = self._resume()
        self.began, self.first, self.seen = time.monotonic(), self.step, 0
        self.sharing.begin()
        with ExitStack() as stack:
            if self.ranks.leads:
                self.stage.folder.mkdir(parents=True, exist_ok=True)
                followed = () if self.reason else self.stage.trackers
                name = f"{self.stage.run}/{self.stage.name}" if self.stage.run else self.stage.name
                trackers = open_trackers(followed, name, self.stage.folder, self.stage.tree)
                self.log = stack.enter_context(MetricsLog(self.stage.folder, trackers))
                self.log.rewind(self.step if resumed else -1)
            stop = stack.enter_context(listening())
            if not self.reason:
                if not resumed:
                    self._look({})  # what the first step begins from is a candidate too
                batches = stack.enter_context(closing(ahead(self.feed, self._numbers())))
                self._train(batches, stop)
            found = self.ranks.told(overfitting(self.log.lines()) if self.log else None)
        self._end()
        return Fitted(
            step=self.step,
            steps=self.steps,
            reason=self.reason,
            best=self.best,
            figures=self.figures,
            overfitting=found,
            seconds=time.monotonic() - self.began,
            tokens_per_second=self._speed(),
        )

    def _train(self, batches: Iterator[Batch], stop: Stop) -> None:
        while not self.reason:
            line = self._advance(batches)
            if self.step == self.steps:
                self.reason = "all steps"
            if self.reason or self.step % self.settings.validate_every == 0:
                self._look(line)
            else:
                self._write(line)
            asked = self.ranks.any(stop.asked)
            if self.reason or asked or self.step % self.settings.save_every == 0:
                self._save()
            self._tick(line)
            if asked:  # of a stage that is just done as well: another may follow
                raise StoppedError(
                    f"stopped after step {self.step} of {self.steps} ({self.stage.name}); "
                    "the same command goes on from there"
                )

    def _numbers(self) -> Iterator[int]:
        """The numbers of the batches that this process reads from now on."""
        for step in range(self.step, self.steps):
            first = step * self.each + self.ranks.rank
            yield from range(first, (step + 1) * self.each, self.ranks.count)

    def _advance(self, batches: Iterator[Batch]) -> dict[str, Any]:
        """One step of the optimisers; what it was like."""
        self.network.train()
        sums: dict[str, float] = {}
        share = rate_share(self.step, self.steps, self.settings)
        calm, bars = 0.0, 0
        for part in range(self.settings.accumulate):
            number = self.step * self.each + part * self.ranks.count + self.ranks.rank
            batch = next(batches)
            torch.manual_seed(self.stage.seed * 2**40 + number)  # dropout, and coarse tokens that are sampled
            last = part + 1 == self.settings.accumulate
            with self.sharing.exchanging(last), self._cast():
                loss, figures = self.sharing.loss(batch)
                (loss / self.settings.accumulate).backward()  # type: ignore[no-untyped-call]
            calm += calm_share(batch, self._base()) if self.settings.base_volatility is not None else 1.0
            for key, value in {"loss": loss.item(), **figures}.items():
                sums[key] = sums.get(key, 0.0) + value
            bars += batch.bars.shape[0] * batch.bars.shape[1]
        totals = self.ranks.totals({**sums, "calm": calm, "bars": bars})
        self.seen += int(totals.pop("bars"))
        share *= totals.pop("calm") / self.each
        line = {key: value / self.each for key, value in totals.items()}
        norm = self._clipped()
        self._refuse_nonsense(line["loss"], norm)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * share
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._average()
        rate = max(group["lr"] for optimiser in self.optimisers[:1] for group in optimiser.param_groups)
        return {"step": self.step, "lr": rate, **line, "grad_norm": norm}

    def _clipped(self) -> float:
        """Cut the gradient to the settings' norm; what it was."""
        norm = nn.utils.clip_grad_norm_(self.trained, self.settings.clip or math.inf)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def _refuse_nonsense(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        raise KronosError(
            f"{self.stage.name}, step {self.step + 1}: {what}; {self._saved()}. A lower lr, a clip, or data without "
            "broken bars (kronos data check) helps; other settings need another folder"
        )

    def _saved(self) -> str:
        """What is on disk to go on from, in words."""
        last = self.keeper.last_step()
        if last is None:
            return "nothing was saved yet"
        return f"the checkpoint of step {last} in {self.keeper.folder} is good"

    def _average(self) -> None:
        """Move the averaged weights; early ones count less, so that the beginning is forgotten sooner."""
        if self.average is None:
            return
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)

    # --- looking -------------------------------------------------------------------------------------------------

    def _look(self, line: Mapping[str, Any]) -> None:
        """Validate, score where it is time, keep the best, and decide whether it is enough."""
        network = self.network if self.average is None else self.average
        figures = self._validated(network)
        line = {"step": self.step, **line, **{f"val_{key}": value for key, value in figures.items()}}
        if self.settings.metric == "loss":  # before rollouts, for what ends the run is scored as well
            self._judge(figures["loss"], network)
        every = self.settings.score_every
        looks = self.step // self.settings.validate_every
        if self.stage.rollouts is not None and every and (looks % every == 0 or self.reason):
            scored: Mapping[str, float] = {}
            whole = self.sharing.whole(network)
            if self.ranks.leads:
                scored = self.stage.rollouts(merged(whole).to(self.ranks.device))
            line |= {f"task_{key}": value for key, value in self.ranks.told(scored).items()}
        # plain numbers: a checkpoint is read back without anything else in it
        self.figures = {key: float(value) for key, value in line.items() if key.startswith(("val_", "task_"))}
        if self.settings.metric == "crps" and "task_crps" in line:
            self._judge(float(line["task_crps"]), network)
        self._write(line)
        shown = "  ".join(f"{key} {value:.4f}" for key, value in self.figures.items())
        mark = "  (best)" if self.best.step == self.step else ""
        self._say(f"{self.stage.name} step {self.step}/{self.steps}  {shown}{mark}")

    def _judge(self, value: float, network: nn.Module) -> None:
        if not math.isfinite(value):
            raise KronosError(
                f"{self.stage.name}, step {self.step}: validation gives {value}; {self._saved()}. "
                "Look for broken bars in the data (kronos data check)"
            )
        if value < self.best.value:
            self.best = Best(value, self.step)
            weights = self.sharing.weights(network)
            if self.ranks.leads:
                self.keeper.save_best({"step": self.step, "value": value, "network": weights})
            return
        self.best.since += 1
        if self.settings.patience and self.best.since >= self.settings.patience and not self.reason:
            self.reason = f"no better validation in {self.best.since} since step {self.best.step}"

    @torch.no_grad()
    def _validated(self, network: nn.Module) -> dict[str, float]:
        """Mean figures over the validation's windows, each process looking at its share of the batches."""
        network.eval()
        sums: dict[str, float] = {}
        count = len(self.validation)
        for first in range(0, count, self.ranks.count):  # all look as often: a network in parts needs everybody
            number = first + self.ranks.rank
            batch = self.validation[number % count]
            with self._cast():
                loss, parts = self.objective.loss(network, batch)
            weight = len(batch.bars) if number < count else 0
            for key, value in {"loss": loss.item(), **parts}.items():
                sums[key] = sums.get(key, 0.0) + value * weight
        windows = sum(len(batch.bars) for batch in self.validation)
        return {key: value / windows for key, value in self.ranks.totals(sums).items()}

    # --- staying -------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        state: State = {
            "step": self.step,
            "reason": self.reason,
            "best": [self.best.value, self.best.step, self.best.since],
            "figures": self.figures,
            "settings": self.settings.tree() | self._beside(),
            "network": self.sharing.weights(self.network),
            "optimisers": self.sharing.moments(self.optimisers),
        }
        if self.average is not None:
            state["average"] = self.sharing.weights(self.average)
        if self.log is not None:
            self.log.flush()
            self.keeper.save(state, self.step)

    def _resume(self) -> bool:
        """Put everything back to where the newest checkpoint says it was; whether there was one."""
        found = self.keeper.latest()
        self._refuse_other_views(found[0].name if found else None)
        if found is None:
            return False
        path, saved, troubles = found
        for trouble in troubles:
            self._say(f"{self.stage.name}: {trouble}; going back to the one before it")
        self._refuse_changes(path, saved)
        try:
            self.sharing.set_weights(self.network, saved["network"])
            self.sharing.set_moments(self.optimisers, saved["optimisers"])
            if self.average is not None:
                self.sharing.set_weights(self.average, saved["average"])
            self.step, self.reason, self.figures = int(saved["step"]), saved["reason"], saved["figures"]
            self.best = Best(*saved["best"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{path}: does not belong to this run ({reason}); choose another folder") from error
        self._say(
            f"{self.stage.name}: "
            + (f"done before, {self.reason}" if self.reason else f"going on after step {self.step}")
        )
        return True

    def _refuse_other_views(self, here: str | None) -> None:
        there = self.ranks.told(here)
        if self.ranks.any(here != there):
            raise CheckpointError(
                f"{self.stage.folder}: the processes do not find the same checkpoints there "
                f"({there or 'none'} and others); a run's folder must be one that all machines share"
            )

    def _refuse_changes(self, path: Path, saved: State) -> None:
        before = saved.get("settings")
        if not isinstance(before, dict):
            raise CheckpointError(f"{path}: does not belong to this run (it holds no settings); choose another folder")
        changed = self.settings.against(before)
        now = self._beside()
        changed = changed or {key: (before.get(key), now[key]) for key in now if before.get(key) != now[key]}
        if changed:
            what = ", ".join(f"{key} {then} -> {now}" for key, (then, now) in changed.items())
            raise ConfigError(
                f"{path}: this run was begun with other settings ({what}); keep them or choose another folder"
            )

    def _beside(self) -> dict[str, Any]:
        """What else numbers depend on, by the name that it has in a complaint; the data say how long epochs are."""
        tuning = self.stage.tuning.tree()
        return {"tuning": tuning, "accumulate x processes": self.each, "steps in all": self.steps}

    def _end(self) -> None:
        """Leave the objective's network with the weights that the settings keep, the same ones in every process."""
        if self.settings.keep == "best":
            weights = self._best_weights() if self.ranks.leads else {}
        else:
            weights = self.sharing.weights(self.network if self.average is None else self.average)
        self.sharing.end(weights)
        self.objective.network.eval()

    def _best_weights(self) -> dict[str, Any]:
        best = self.keeper.best()
        if best is None:
            raise CheckpointError(
                f"{self.stage.folder}: the best weights, of step {self.best.step}, are gone; begin in a new folder"
            )
        weights: dict[str, Any] = best["network"]
        return weights

    # --- precision, words ------------------------------------------------------------------------------------------

    def _cast(self) -> AbstractContextManager[Any]:
        wanted = self.settings.precision == "bfloat16"
        return torch.autocast(self.ranks.device.type, dtype=torch.bfloat16, enabled=wanted)

    def _base(self) -> float:
        """The volatility that the rate is measured by."""
        given = self.settings.base_volatility
        if isinstance(given, float):
            return given
        if self.volatility is None:
            seen = sorted(volatility_of(self.feed(number)) for number in range(min(_LOOKED_AT, self.feed.epoch)))
            self.volatility = max(seen[len(seen) // 2], 1e-9)
        return self.volatility

    def _write(self, line: Mapping[str, Any]) -> None:
        if self.log is not None:
            self.log.write({**line, "tokens_per_second": round(self._speed())} if self.seen else line)

    def _speed(self) -> float:
        return self.seen * self.stage.tokens_per_bar / max(time.monotonic() - self.began, 1e-9)

    def _tick(self, line: Mapping[str, Any]) -> None:
        if self.ranks.leads:
            taken = (time.monotonic() - self.began) / max(self.step - self.first, 1)
            left = taken * (self.steps - self.step)
            self.stage.reporter.tick(
                Progress(self.stage.name, self.step, self.steps, line["loss"], line["lr"], self._speed(), left)
            )

    def _say(self, text: str) -> None:
        if self.ranks.leads:
            self.stage.reporter.say(text)
