"""Where a row came from, in the words of an error: the frame's name, the row, and the line of the file if there is one.

It knows nothing of files; whoever read one passes the line of each row.
"""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.errors import BarsError

LONGEST = 80


@dataclass(frozen=True, eq=False)
class Where:
    """The name at the head of every error, and the line of each row where the rows stood in a text."""

    name: str
    lines: NDArray[np.int64] | None = None

    def row(self, row: int) -> str:
        """As messages name a row: "x.csv: row 5, line 7"; rows count from 0, lines from 1."""
        line = "" if self.lines is None else f", line {self.lines[row]}"
        return f"{self.name}: row {row}{line}"

    def fail(self, broken: Any, what: str, at: Any = None) -> NoReturn:
        """Refuse the first `broken` row: `what` is wrong there, and `at` (the times) says when it was."""
        bad = np.asarray(broken, dtype=bool)
        row = int(bad.argmax())
        when = "" if at is None else f" ({at[row]})"
        raise BarsError(f"{self.row(row)}{when}: {what} ({affected(int(bad.sum()))})")

    def fail_time(self, times: "pd.Series[Any]", broken: Any, what: str) -> NoReturn:
        """Refuse the first `broken` one of the `times` as they stood."""
        bad = np.asarray(broken, dtype=bool)
        self.fail(bad, f"the time {shown(times.iloc[int(bad.argmax())])} {what}")


def affected(count: int) -> str:
    """How many rows an error is about, in words."""
    return "1 row is affected" if count == 1 else f"{count} rows are affected"


def shown(value: Any) -> str:
    """A value as messages quote it: as Python writes it, and not at any length."""
    text = repr(value.item() if isinstance(value, np.number) else value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
