"""How good is it: scores of forecast distributions over rolling windows, and how sure one may be of them.

Any `Forecaster` is judged by the same code; the network is never imported.
"""

from kronos.evaluate.metrics.distribution import coverage, crps, crps_gaussian
from kronos.evaluate.metrics.uncertainty import Figures, paired, standard_error, summary
from kronos.evaluate.rollouts import Trials, choose_origins, score_windows

__all__ = [
    "Figures",
    "Trials",
    "choose_origins",
    "coverage",
    "crps",
    "crps_gaussian",
    "paired",
    "score_windows",
    "standard_error",
    "summary",
]
