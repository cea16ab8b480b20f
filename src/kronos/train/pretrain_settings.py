"""Everything that can be chosen about pretraining; the defaults are the recipe of the embedded model."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from kronos.config import Settings
from kronos.model import ZOO
from kronos.train.finetune_settings import AugmentSettings
from kronos.train.objectives import Sibling
from kronos.train.settings import Count, LoopSettings, Positive, Share

Size = Literal["nano", "mini", "small", "base", "large"]

_NANO_TOKENIZER = {"d_model": 96, "n_heads": 4, "ff_dim": 192, "n_enc_layers": 3, "n_dec_layers": 3}
_NANO_NETWORK = {"d_model": 128, "n_heads": 4, "ff_dim": 352, "n_layers": 4}
_NO_DROPOUT = {"ffn_dropout_p": 0.0, "attn_dropout_p": 0.0, "resid_dropout_p": 0.0}
_QUANTISER = {"beta": 0.05, "gamma0": 1.0, "gamma": 1.1, "zeta": 0.05, "group_size": 4}


class Shape(Settings):
    """Windows of one shape and how many of them make a batch."""

    lookback: Count
    horizon: Count
    batch: Count


class Recipe(LoopSettings):
    """What the training of both networks has in common, and its size where that is not the zoo's."""

    optimiser: Literal["adamw", "muon"] = "muon"
    muon_lr: Positive | None = 0.01
    warmup: Annotated[float, Field(ge=0)] = 0.06
    config: dict[str, Any] = Field(default_factory=dict)
    """Constructor arguments to be different from those of `size`."""


class TokenizerRecipe(Recipe):
    """The tokenizer's training."""

    steps: Count | None = 1600
    lr: Positive = 3e-3
    validate_every: Count = 400
    batch_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the shapes' batches: reconstruction runs three passes a window and needs fewer of them."""
    column_weights: tuple[Positive, Positive, Positive, Positive, Positive, Positive] | None = (
        4.0,
        4.0,
        2.0,
        2.0,
        1.0,
        0.25,
    )
    return_weight: Annotated[float, Field(ge=0)] = 4.0
    """How much an error in a bar's whole return counts, beside those of its columns; for the kind `returns`."""
    match_spread: bool = True
    """Afterwards widen decoded gaps and bodies to the deviations of true ones; for the kind `returns`."""


class PredictorRecipe(Recipe):
    """The predictor's training."""

    steps: Count | None = 2700
    lr: Positive = 2e-3
    validate_every: Count = 450
    sibling: Sibling = "true"
    lookback_weight: Annotated[float, Field(ge=0)] = 0.25


class PretrainSettings(Settings):
    """A whole pretraining run."""

    data: tuple[str, ...] = ()
    """Files, folders, lakes and packs of bars."""
    symbols: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    size: Size = "nano"
    """Whose configuration the networks have."""
    name: str | None = None
    """What the result is called; by default kronos- and the size."""
    seed: Annotated[int, Field(ge=0, lt=2**20)] = 1
    normaliser: Literal["returns", "zscore", "robust"] = "returns"
    stamp_of: Literal["next", "bar"] = "next"
    max_context: Count | None = None
    """The longest window, by default the size's own context."""
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """The last part in time of every asset, never trained on."""
    validation_windows: Count = 256
    shapes: Annotated[tuple[Shape, ...], Field(min_length=1)] = (
        Shape(lookback=64, horizon=96, batch=26),
        Shape(lookback=128, horizon=160, batch=14),
        Shape(lookback=256, horizon=224, batch=9),
        Shape(lookback=400, horizon=112, batch=8),
    )
    """They take turns."""
    market_weights: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Every market's share of the draws; by default by the root of its windows."""
    augment: tuple[AugmentSettings, ...] = ()
    without_volume: Share = 0.03
    tokenizer: TokenizerRecipe = TokenizerRecipe()
    tokenizer_from: str | None = None
    """A tokenizer that is there already, by folder or Hub name; the first stage is left out."""
    predictor: PredictorRecipe = PredictorRecipe()
    trackers: tuple[Literal["tensorboard", "wandb", "comet"], ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        longest = max(self.shapes, key=lambda shape: shape.lookback + shape.horizon)
        if longest.lookback + longest.horizon > self.context:
            raise ValueError(
                f"shapes: a window of {longest.lookback} + {longest.horizon} bars is longer than the context of "
                f"{self.context}; shorten it or set max_context"
            )
        if "crps" in (self.tokenizer.metric, self.predictor.metric):
            raise ValueError("metric: pretraining keeps the last weights and watches 'loss'")
        return self

    @property
    def context(self) -> int:
        """The longest window of the network."""
        return self.max_context or ZOO[self.size].max_context

    def tokenizer_config(self) -> dict[str, Any]:
        """The constructor's arguments of the tokenizer."""
        published = ZOO[self.size].tokenizer_config
        sizes = dict(published) or {"d_in": 6, **_NANO_TOKENIZER, **_NO_DROPOUT, **_bits(8), **_QUANTISER}
        name = f"{self.called}-tokenizer"
        return sizes | {"normaliser": self.normaliser, "name": name} | self.tokenizer.config

    def network_config(self) -> dict[str, Any]:
        """The constructor's arguments of the predictor."""
        published = ZOO[self.size].network_config
        sizes = dict(published) or {
            **_NANO_NETWORK,
            **_NO_DROPOUT,
            **_bits(8),
            "token_dropout_p": 0.0,
            "learn_te": True,
        }
        own = {"sibling_form": "trained", "stamp_of": self.stamp_of, "clock": "utc"}
        return sizes | own | {"max_context": self.context, "name": self.called} | self.predictor.config

    @property
    def called(self) -> str:
        """The result's name."""
        return self.name or f"kronos-{self.size}"


def _bits(count: int) -> dict[str, int]:
    return {"s1_bits": count, "s2_bits": count}
