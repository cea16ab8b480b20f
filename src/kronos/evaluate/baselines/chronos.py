"""A rival foundation model: Chronos of Amazon (chronos-forecasting, the extra `chronos`), with weights that are given.

Chronos-T5 writes paths, and they are taken as they are. Chronos-Bolt and Chronos-2 give quantiles of every step, up to
.9 or .99; paths are made of them by `paths_of_quantiles`, which has to assume how steps hang together. All are told the
log close less its mean over the look-back, in units of its deviation there: T5 counts in steps of a share of the mean
size, which on bare prices would be coarser than most bars' moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE
from kronos.errors import CheckpointError, ConfigError
from kronos.evaluate.baselines.asking import Past
from kronos.evaluate.baselines.base import Baseline, Walk
from kronos.evaluate.baselines.quantiles import paths_of_quantiles
from kronos.extras import require, without_its_deprecations

Array = NDArray[np.float64]

PREFIX = "chronos:"
UNREADABLE = (OSError, ValueError, KeyError, AssertionError, RuntimeError)  # what loading raises for what is no model


@dataclass
class Chronos(Baseline):
    """The model in a folder or on the Hub; loaded at the first forecast, and again after pickling."""

    place: str
    _pipeline: Any = field(default=None, repr=False, compare=False)

    least = 16

    def __post_init__(self) -> None:
        """Refuse what names nothing."""
        if not self.place:
            raise ConfigError("chronos: needs weights, a folder or an id of the Hub: chronos:amazon/chronos-bolt-tiny")

    def __getstate__(self) -> dict[str, Any]:
        """The place alone: weights are read again where it is unpickled."""
        return {"place": self.place, "_pipeline": None}

    @property
    def name(self) -> str:
        """chronos, and the last part of the place."""
        return f"{PREFIX}{Path(self.place).name}"

    @property
    def pipeline(self) -> Any:
        """What chronos-forecasting made of the weights."""
        if self._pipeline is None:
            chronos = require("chronos", extra="chronos")
            try:
                with without_its_deprecations():
                    self._pipeline = chronos.BaseChronosPipeline.from_pretrained(self.place, device_map="cpu")
            except UNREADABLE as error:
                raise CheckpointError(f"{self.place} holds no Chronos model that can be read: {error}") from error
        return self._pipeline

    def walks(self, pasts: Sequence[Past], samples: int, seed: int) -> list[Walk]:
        """Sampled paths, or paths through quantiles."""
        logs = [np.log(past.candles[:, CLOSE]) for past in pasts]
        units = [one.std() for one in logs]
        told = [(one - one.mean()) / unit for one, unit in zip(logs, units, strict=True)]
        with without_its_deprecations():
            if hasattr(self.pipeline, "quantiles"):
                made, how = self._through_quantiles(pasts, told, samples, seed), "paths through quantiles"
            else:
                made, how = self._sampled(pasts, told, samples, seed), "sampled paths"
        facts = {"place": self.place, "pipeline": type(self.pipeline).__name__, "paths": how}
        parts = zip(made, told, units, strict=True)
        return [Walk((paths - values[-1]) * unit, facts) for paths, values, unit in parts]

    def _sampled(self, pasts: Sequence[Past], told: Sequence[Array], samples: int, seed: int) -> list[Array]:
        """One look-back at a time, since the package's random numbers depend on what is sampled beside it."""
        import torch

        found = []
        for past, values in zip(pasts, told, strict=True):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(past.random(seed).integers(2**62)))
                context = torch.tensor(values, dtype=torch.float32)
                made = self.pipeline.predict(context, prediction_length=past.horizon, num_samples=samples)
            found.append(np.asarray(made[0], dtype=np.float64))
        return found

    def _through_quantiles(self, pasts: Sequence[Past], told: Sequence[Array], samples: int, seed: int) -> list[Array]:
        """All look-backs of a length together."""
        import torch

        levels = [float(level) for level in self.pipeline.quantiles]
        contexts = [torch.tensor(values, dtype=torch.float32) for values in told]
        made, _ = self.pipeline.predict_quantiles(
            contexts, prediction_length=pasts[0].horizon, quantile_levels=levels
        )  # (H, Q) of each
        quantiles = [np.asarray(one, dtype=np.float64).reshape(-1, len(levels)) for one in made]
        return [
            paths_of_quantiles(values, levels, samples, past.random(seed))
            for values, past in zip(quantiles, pasts, strict=True)
        ]
