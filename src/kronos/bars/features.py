"""What the network is told about time: five whole numbers per bar.

The stamp of a bar is read off the clock that its index shows: the reference does the same, and its weights have
learned exchange-local hours. Which clock that should be is decided by whoever builds the index.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

STAMP_FIELDS = ("minute", "hour", "weekday", "day", "month")


def time_stamps(times: pd.DatetimeIndex) -> NDArray[np.int64]:
    """(T, 5) minute, hour, weekday (Monday 0), day of month and month of every bar."""
    fields = (times.minute, times.hour, times.day_of_week, times.day, times.month)
    return np.stack([np.asarray(field, dtype=np.int64) for field in fields], axis=-1)
