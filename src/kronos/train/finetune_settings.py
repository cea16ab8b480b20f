"""Everything that can be chosen about a fine-tuning run: one tree, as it stands in a YAML file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kronos.config import Settings
from kronos.data import Augmentation
from kronos.train.objectives import Sibling
from kronos.train.settings import Count, LoopSettings, Positive, Share
from kronos.train.tuning import Tuning

Dates = tuple[str | None, str | None]  # [begin, end); None is open


class SplitDates(Settings):
    """The parts by date, in the order of time; each is [begin, end), null where it is open."""

    train: Dates
    validation: Dates
    test: Dates


class SplitSettings(Settings):
    """Which bars are trained on, which choose the best weights, and which are left for the last table."""

    ratios: tuple[Share, Share, Share] = (0.7, 0.15, 0.15)
    dates: SplitDates | None = None
    """Instead of `ratios`."""
    embargo: Annotated[int, Field(ge=0)] | None = None
    """Bars left out between parts; by default as many as the horizon."""
    common: bool = False
    """Cut all symbols at the same moments."""
    hold_out: tuple[str, ...] = ()
    """Symbols that are tested on and nothing else."""


class AugmentSettings(Settings):
    """One kind of augmentation of the training windows: noise, scale, warp or invert."""

    kind: str
    share: Share = 0.5
    strength: float | None = None

    def made(self) -> Augmentation:
        """The augmentation; `ConfigError` for kinds and strengths that there are not."""
        return Augmentation(self.kind, self.share, self.strength)


class ReplaySettings(Settings):
    """Windows of other data among those of every batch, so that the base does not forget."""

    data: str
    share: Annotated[float, Field(gt=0, lt=1)] = 0.25


class ScoreSettings(Settings):
    """Rollouts that are scored: while training, and at the end on the test part."""

    origins: Count = 48
    samples: Annotated[int, Field(ge=2)] = 30
    test_origins: Count = 96
    test_samples: Annotated[int, Field(ge=2)] = 100


class TuningStage(LoopSettings):
    """What both stages of tuning have in common: small rates, and the best weights instead of the last."""

    lr: Positive = 1e-4
    warmup: Annotated[float, Field(ge=0)] = 0.05
    validate_every: Count = 50
    save_every: Count = 25
    keep: Literal["best", "last"] = "best"
    patience: Annotated[int, Field(ge=0)] = 6
    tuning: Tuning = Tuning()

    @property
    def trains(self) -> bool:
        """Whether there is anything to do in this stage."""
        return self.tuning.what != "none" or bool(self.tuning.also)


class TokenizerStage(TuningStage):
    """The first stage: the tokenizer learns these candles."""

    steps: Count | None = 150
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(ge=0)] = 2.0
    match_spread: bool = True
    """Afterwards widen decoded gaps and bodies to the deviations of true ones; for bases of the kind `returns`."""


class PredictorStage(TuningStage):
    """The second stage: the network learns what follows what."""

    steps: Count | None = 400
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    clip: Annotated[float, Field(ge=0)] = 3.0
    sibling: Sibling = "true"
    lookback_weight: Annotated[float, Field(ge=0)] = 0.5


class FinetuneSettings(Settings):
    """A whole fine-tuning run."""

    data: tuple[str, ...] = ()
    """Files, folders, lakes and packs of bars."""
    symbols: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    base: str = "nano"
    base_tokenizer: str | None = None
    name: str | None = None
    """What the result is called; by default the base's name and "-tuned"."""
    seed: Annotated[int, Field(ge=0, lt=2**20)] = 1

    lookback: Annotated[int, Field(ge=8)] | None = None
    """Bars that are known; by default 400, or as many as let every part of the data hold a few windows."""
    horizon: Count = 24
    batch: Count = 8
    draw: Literal["epochs", "balanced"] = "epochs"
    """"epochs" reads every window as often; "balanced" draws them so that long series do not drown short ones."""
    split: SplitSettings = SplitSettings()
    augment: tuple[AugmentSettings, ...] = ()
    without_volume: Share = 0.0
    """Share of the windows whose volume and amount are zeroed."""
    replay: ReplaySettings | None = None
    validation_windows: Count = 128

    tokenizer: TokenizerStage = TokenizerStage()
    predictor: PredictorStage = PredictorStage()
    sibling_form: Literal["trained", "keep"] = "trained"
    """How the fine token's attention runs in forecasts: as it is trained here, or as the base records it."""
    score: ScoreSettings = ScoreSettings()
    ensemble: Count = 1
    """So many members, which differ by their seeds and forecast together."""
    trackers: tuple[Literal["tensorboard", "wandb", "comet"], ...] = ()

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.tokenizer.metric == "crps":
            raise ValueError("tokenizer.metric: a tokenizer alone forecasts nothing; its metric is 'loss'")
        if not (self.tokenizer.trains or self.predictor.trains):
            raise ValueError("tokenizer.tuning.what and predictor.tuning.what are both 'none': nothing is trained")
        return self
