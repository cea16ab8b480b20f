"""How one network is fitted: length, batches, optimiser, schedule, and when to look, save and stop."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kronos.config import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Schedule = Literal["cosine", "onecycle", "constant"]
Metric = Literal["loss", "crps"]

_HARMLESS = frozenset({"save_every", "keep_last", "accumulate", "parallel"})
"""What may change when a run goes on, because no number depends on it (`accumulate` times the number of processes must
stay, which the loop sees to)."""


class LoopSettings(Settings):
    """How long, how fast, and what is watched."""

    steps: Count | None = None
    """Steps of the optimiser; by default as many as `epochs` take."""
    epochs: Positive | None = None
    """How often every window is read, where `steps` is not given."""
    accumulate: Count = 1
    """Batches that each process adds up before a step."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several processes share the network: "ddp": each holds all of it; "fsdp": each holds a part of everything."""

    optimiser: Literal["adamw", "muon"] = "adamw"
    """"muon": the matrices of the blocks by orthogonalised momentum, everything else by AdamW."""
    lr: Positive = 2e-3
    muon_lr: Positive | None = None
    """The rate of Muon's matrices; by default `lr`."""
    betas: tuple[Share, Share] = (0.9, 0.95)
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    clip: Annotated[float, Field(ge=0)] = 1.0
    """The gradient's norm is cut to this; 0 leaves it."""

    schedule: Schedule = "cosine"
    warmup: Annotated[float, Field(ge=0)] = 100
    """Steps, or a share of all steps where below 1."""
    initial_lr: Share = 0.1
    """Where the warm-up begins, of the peak."""
    final_lr: Share = 0.02
    """Where the schedule ends, of the peak."""
    base_volatility: Positive | Literal["auto"] | None = None
    """Multiply each step's rate by 1 / (1 + volatility of the batch / this), per bar; "auto": the data's own median."""

    precision: Literal["float32", "bfloat16"] = "float32"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential average of the weights, which is then what is validated and kept; 0 has none."""
    checkpointing: bool = False
    """Compute the blocks' activations a second time instead of keeping them: less memory, a third more work."""

    validate_every: Count = 200
    score_every: Annotated[int, Field(ge=0)] = 0
    """Score rollouts at every so many validations, where a score was handed in; 0: never while training."""
    metric: Metric = "loss"
    """What "best" means."""
    keep: Literal["best", "last"] = "last"
    """Which weights a run ends with."""
    patience: Annotated[int, Field(ge=0)] = 0
    """End after so many validations without a better one; 0: never."""
    save_every: Count = 100
    keep_last: Count = 2
    """Checkpoints that are kept beside the best one."""

    @model_validator(mode="before")
    @classmethod
    def _epochs_alone(cls, given: Any) -> Any:
        """Who asks for epochs does not mean the default number of steps."""
        if isinstance(given, dict) and given.get("epochs") is not None and "steps" not in given:
            return {**given, "steps": None}
        return given

    def against(self, before: dict[str, object]) -> dict[str, tuple[object, object]]:
        """The keys, of those that matter, that had other values before: (then, now)."""
        now = self.tree()
        return {
            key: (before.get(key), value)
            for key, value in now.items()
            if key not in _HARMLESS and before.get(key) != value
        }
