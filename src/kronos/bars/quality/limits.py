"""What is still usual for bars of a length: the paper's limits for filtering, and ours for what it does not name."""

from dataclasses import dataclass

import numpy as np

from kronos.bars.timeframe import Timeframe


@dataclass(frozen=True)
class Limits:
    """Where a series is cut and what is reported; `limits_for` gives those of a timeframe."""

    rows: int = 256
    """The fewest bars of a segment."""
    jump: float = 0.20
    """A step from one close to the next open or close that ends a segment: up by this share, or down by as much
    (a rise to 1 + jump and a fall to 1 / (1 + jump) are the same step)."""
    illiquid: int = 1
    """So many bars without volume in a row are dropped."""
    stagnant: int = 3
    """So many bars in a row with all four prices equal and unchanged are dropped."""
    gap: int = 1
    """So many missing bars in a row end a segment; holidays and nights are no missing bars."""
    tick: float = 15.0
    """A price is a bad tick when it stands beyond both neighbouring bars by so many standard deviations of a bar."""
    outlier: float = 20.0
    """Log returns farther than this from the median, in standard deviations told by the MAD, are counted; log volumes
    farther than half of it."""


# The paper's appendix names five intervals; the others take what the nearest of them has, by the ratio of lengths.
_PAPER = {
    "5m": Limits(rows=1024, jump=0.15, illiquid=3, stagnant=10),
    "15m": Limits(rows=512, jump=0.15, illiquid=2, stagnant=5),
    "1h": Limits(rows=256, jump=0.20, illiquid=1, stagnant=3),
    "4h": Limits(rows=128, jump=0.25, illiquid=1, stagnant=3),
    "1d": Limits(rows=128, jump=0.30, illiquid=1, stagnant=3),
}


def limits_for(timeframe: Timeframe | str) -> Limits:
    """The limits of a timeframe: the paper's at 5m, 15m, 1h, 4h and 1d, elsewhere those of the nearest of these."""
    length = Timeframe.parse(timeframe).nanoseconds
    name = min(_PAPER, key=lambda known: abs(np.log(length / Timeframe.parse(known).nanoseconds)))
    return _PAPER[name]
