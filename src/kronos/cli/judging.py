"""Scores of networks in training: forecasts from one room, their scores from another, handed to a third."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kronos.data import Windows
    from kronos.evaluate import Figures
    from kronos.model import Kronos, KronosTokenizer


class RolloutJudge:
    """Forecasts windows with networks as they are and scores the paths."""

    def __init__(self, device: str, seed: int) -> None:
        """On a device; the same seed gives every network the same random numbers."""
        self.device, self.seed = device, seed

    def score(
        self, pairs: "Sequence[tuple[Kronos, KronosTokenizer]]", windows: "Windows", origins: int, samples: int
    ) -> "Figures":
        """Figures of the pairs' pooled paths."""
        from kronos.evaluate import score_windows
        from kronos.forecast import Ensemble, KronosForecaster

        members = [KronosForecaster(network, tokenizer, self.device) for network, tokenizer in pairs]
        one = members[0] if len(members) == 1 else Ensemble(members)
        return score_windows(one, windows, origins, samples=samples, seed=self.seed, wanted=["brief"])

    def difference(self, ours: "Figures", theirs: "Figures") -> tuple[float, float]:
        """How much greater our CRPS is, and the standard error."""
        from kronos.evaluate import paired

        return paired(ours, theirs)
