"""What an inspection can find: the kinds, how severe each is, and the record of one of them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

KINDS: dict[str, str] = {
    "unreadable": "bars that cannot be read at all",
    "too_few": "fewer than two bars, or bars less than a second apart",
    "unsorted": "times that go back",
    "duplicate": "times that come twice, with equal or with other values",
    "missing_value": "a price, volume or amount that is missing or infinite",
    "not_positive": "a price that is not positive, a volume or amount that is negative",
    "bad_candle": "a high below, or a low above, another price of its bar",
    "mixed_timeframe": "a stretch of another timeframe, or another timeframe than was said",
    "future": "bars that have not happened yet",
    "gap": "bars that should exist and do not",
    "likely_holiday": "bars missing as on a holiday or a half day",
    "off_grid": "times that the other bars' grid does not have",
    "time_zone": "times that belong to another zone, or bars stamped with their ends",
    "bad_tick": "prices of one bar far beyond both its neighbours",
    "mixed_series": "prices that alternate between two levels",
    "split": "a jump by the ratio of a share split that stays",
    "jump": "a step between two bars beyond the limit",
    "zero_volume": "runs of bars without trade",
    "stagnant": "runs of bars with one unchanged price",
    "vwap": "amount / volume outside the bar, or volume in another unit",
    "outlier": "returns or volumes far from the usual",
}
"""Every kind of finding and what it means."""

SHOWN = 1000
"""So many findings of a kind are kept one by one; the rest is gathered into the last, so that counts stay exact."""


@dataclass(frozen=True)
class Finding:
    """Something that is, or may be, wrong with a series."""

    kind: str
    severity: Severity
    """An "error" makes the bars unusable for the model, a "warning" may spoil forecasts, a "note" is worth knowing."""
    first: pd.Timestamp | None
    last: pd.Timestamp | None
    rows: int
    """How many bars it is about; of a gap, how many are missing."""
    detail: str
    places: int = 1
    """How many separate places it stands for."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; times in the ISO spelling."""
        return asdict(self) | {"first": _iso(self.first), "last": _iso(self.last)}

    def __str__(self) -> str:
        """One line: severity, kind, when, what."""
        when = "" if self.first is None else f"{self.first}"
        if self.last is not None and self.last != self.first:
            when = f"{when} .. {self.last}"
        return f"{self.severity:<7} {self.kind:<15} {when + '  ' if when else ''}{self.detail}"


def capped(findings: list[Finding], total: int, rows: int) -> list[Finding]:
    """The first `SHOWN` findings of a kind and one for the rest of `total` places and `rows` bars."""
    if total <= len(findings):
        return findings
    kept = findings[: SHOWN - 1]
    last = findings[-1]
    places, left = total - len(kept), rows - sum(finding.rows for finding in kept)
    rest = Finding(last.kind, last.severity, last.first, None, left, f"and {places} more like these", places)
    return [*kept, rest]


def _iso(time: pd.Timestamp | None) -> str | None:
    return None if time is None else time.isoformat()
