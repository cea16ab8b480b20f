"""What costs nothing to say: a random walk without drift, as wide as the look-back's last returns were.

Two of them, in closed form, so that no luck of sampling is in their scores: `walk` has the deviation of the last 100
one-bar log returns, which is the unit of all scores, `hv20` that of the last 20. Both say that up and down are equally
likely.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from kronos.evaluate.metrics.distribution import crps_gaussian
from kronos.evaluate.scoring import BASELINE_BARS, LEAST_UNIT, UNIT_BARS

Array = NDArray[np.float64]

YARDSTICKS = {"walk": UNIT_BARS, "hv20": BASELINE_BARS}
"""How many returns each is made of."""

_SHARES = (0.5, 0.9)


def judge_yardsticks(past: Array, came: Array, steps: Sequence[int]) -> dict[str, float]:
    """`walk_crps` and `hv20_crps` in u, their `_cover50` and `_cover90`, and `walk_brier`; means over the steps.

    `past` are the closes (L,) of the look-back, `came` the (H,) that followed.
    """
    changes, at = np.diff(np.log(past)), np.asarray(steps)
    moves, root = np.log(came[at - 1] / past[-1]), np.sqrt(at)
    deviation = float(changes[-UNIT_BARS:].std())
    unit = (deviation if deviation > LEAST_UNIT else np.nan) * root
    found: dict[str, float] = {}
    for name, bars in YARDSTICKS.items():
        wide = changes[-bars:].std() * root
        found[f"{name}_crps"] = float((crps_gaussian(0.0, wide, moves) / unit).mean())
        for share in _SHARES:
            reach = NormalDist().inv_cdf(0.5 + share / 2.0) * wide
            found[f"{name}_cover{100 * share:.0f}"] = float((np.abs(moves) <= reach).mean())
    rose = 0.5 + 0.5 * np.sign(moves)
    found["walk_brier"] = float(np.square(0.5 - rose).mean())
    return found
