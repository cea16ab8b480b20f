"""What is wrong with a series of bars, found without changing it: `inspect` and the `Inspection` it returns.

The checks are in `checks_rows` (order and single rows), `checks_times` (gaps, grid, zone) and `checks_prices` (ticks,
jumps, silence, amounts); here they are put together, counted, and summed up in numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars.quality.checks_amounts import check_amounts
from kronos.bars.quality.checks_prices import check_prices, middle_and_spread, still
from kronos.bars.quality.checks_rows import Usable, check_rows, raw_values, usable
from kronos.bars.quality.checks_times import check_mixture, check_times
from kronos.bars.quality.findings import KINDS, SEVERITIES, Finding, Severity
from kronos.bars.quality.gaps import find_gaps, ordered_times
from kronos.bars.quality.limits import Limits, limits_for
from kronos.bars.timeframe import DAY, Timeframe, infer_timeframe
from kronos.errors import BarsError

QUANTILES = (0.001, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999)
LINES = 5  # findings of one kind in a text


@dataclass(frozen=True)
class Inspection:
    """A series looked through: what it is, what was found, and its distribution in numbers."""

    name: str
    timeframe: Timeframe | None
    calendar: str
    """The calendar that gaps were sought by: the one named, or in words what was learned."""
    rows: int
    first: pd.Timestamp | None
    last: pd.Timestamp | None
    coverage: float
    """The share of the bars there should be that are there and usable; likely holidays are not missed."""
    findings: tuple[Finding, ...]
    summary: dict[str, float]
    limits: Limits

    @property
    def ok(self) -> bool:
        """No error: the model can be given these bars (`frame.canonical(..., volume_rule="fill")` takes them)."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def score(self) -> float:
        """0 to 100: the coverage in hundredths, times (1 - loss) for each kind of finding.

        With r the share of the rows that a kind is about, its loss is 0.2 + 0.6 min(1, 20 r) where it is an error,
        0.4 min(1, 10 r) where it is a warning, and nothing where it is a note. Gaps are in the coverage already.
        """
        score = 100.0 * self.coverage
        for kind, severity, _, rows in self._by_kind():
            share = rows / max(self.rows, 1)
            if severity == "error":
                score *= 1.0 - (0.2 + 0.6 * min(1.0, 20 * share))
            elif severity == "warning" and kind != "gap":
                score *= 1.0 - 0.4 * min(1.0, 10 * share)
        return round(score, 2)

    def counts(self) -> dict[str, int]:
        """How many places each kind was found at: rows, or runs of rows."""
        counts: dict[str, int] = {}
        for kind, _, places, _ in self._by_kind():
            counts[kind] = counts.get(kind, 0) + places
        return counts

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values that JSON has."""
        return {
            "name": self.name,
            "timeframe": None if self.timeframe is None else str(self.timeframe),
            "calendar": self.calendar,
            "rows": self.rows,
            "first": None if self.first is None else self.first.isoformat(),
            "last": None if self.last is None else self.last.isoformat(),
            "coverage": self.coverage,
            "score": self.score,
            "ok": self.ok,
            "counts": self.counts(),
            "summary": self.summary,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def lines(self, most: int = LINES) -> list[str]:
        """The inspection as text: a heading, the numbers, and of each kind the first findings and how many more."""
        length = "?" if self.timeframe is None else str(self.timeframe)
        head = f"{self.name}: {self.rows:,} bars of {length}, {self.first} .. {self.last}, {self.calendar}"
        text = [head, f"  score {self.score:g}, coverage {self.coverage:.2%}{_numbers(self.summary)}"]
        for kind, severity, places, rows in self._by_kind():
            own = [finding for finding in self.findings if finding.kind == kind and finding.severity == severity]
            text += [f"  {finding}" for finding in own[:most]]
            shown = sum(finding.places for finding in own[:most])
            if places > shown:
                left = rows - sum(finding.rows for finding in own[:most])
                text.append(f"  {severity:<7} {kind:<15} and {places - shown:,} more ({left:,} bars)")
        return text

    def _by_kind(self) -> list[tuple[str, Severity, int, int]]:
        """(kind, severity, places, rows) of what was found, the severest first."""
        total: dict[tuple[str, Severity], tuple[int, int]] = {}
        for finding in self.findings:
            key = finding.kind, finding.severity
            places, rows = total.get(key, (0, 0))
            total[key] = places + finding.places, rows + finding.rows
        kinds = list(KINDS)
        order = sorted(total, key=lambda key: (SEVERITIES.index(key[1]), kinds.index(key[0])))
        return [(kind, severity, *total[kind, severity]) for kind, severity in order]


def inspect(
    frame: pd.DataFrame,
    *,
    timeframe: Timeframe | str | None = None,
    calendar: str | None = None,
    limits: Limits | None = None,
    name: str = "bars",
    now: pd.Timestamp | None = None,
) -> Inspection:
    """Look through a loose frame (`frame.loose`), whatever is in it, and say what is wrong.

    `timeframe` is inferred and the `calendar` learned where they are not given; `limits` are those of the timeframe.
    Bars later than `now` (an aware time, by default the clock's) have not happened.
    """
    times, values = raw_values(frame, name)
    now = pd.Timestamp.now("UTC") if now is None else now
    bars = usable(times, values)
    findings = list(check_rows(times, values, now))
    ordered = ordered_times(times)
    length, trouble = _length(ordered, timeframe)
    findings += trouble
    gaps = None
    own = limits or (Limits() if length is None else limits_for(length))
    if length is not None and not trouble:
        gaps = find_gaps(ordered, length, calendar)
        findings += [*check_mixture(bars), *check_times(ordered, length, gaps)]
        findings += [*check_prices(bars, length, own), *check_amounts(bars)]
    order = list(KINDS)
    findings.sort(key=lambda finding: (SEVERITIES.index(finding.severity), order.index(finding.kind)))
    return Inspection(
        name,
        length,
        calendar or "unknown" if gaps is None else gaps.says,
        len(frame),
        ordered[0] if len(ordered) else None,
        ordered[-1] if len(ordered) else None,
        len(bars) / max(len(ordered) + (0 if gaps is None else gaps.lost), 1),
        tuple(findings),
        _summary(bars),
        own,
    )


def _length(times: pd.DatetimeIndex, timeframe: Timeframe | str | None) -> tuple[Timeframe | None, list[Finding]]:
    """The timeframe, and what is wrong where increasing times show none."""
    given = None if timeframe is None else Timeframe.parse(timeframe)
    try:
        inferred = infer_timeframe(times)
    except BarsError as error:
        at = times[0] if len(times) else None
        return given, [Finding("too_few", "error", at, at, len(times), str(error))]
    return given or inferred, []


def _summary(bars: Usable) -> dict[str, float]:
    """The distribution of the log returns from close to close, and how much is silent."""
    if len(bars) < 3:
        return {}
    returns = np.diff(np.log(bars.prices[:, 3]))
    middle, spread = middle_and_spread(returns)
    flat, same = still(bars.prices)
    known = np.isfinite(bars.volume)
    years = max((bars.wall[-1] - bars.wall[0]) / (365.25 * DAY), 1e-9)
    numbers = {
        "return_median": middle,
        "return_mad": spread,
        "return_std": float(returns.std()),
        **{f"return_q{quantile:g}": float(value) for quantile, value in _quantiles(returns)},
        "volatility_per_year": float(returns.std() * np.sqrt(len(returns) / years)),
        "stagnant_share": float((flat & same).mean()),
    }
    if known.any():
        numbers["zero_volume_share"] = float((bars.volume[known] == 0).mean())
        numbers["median_volume"] = float(np.median(bars.volume[known]))
    return numbers


def _quantiles(values: Any) -> Iterator[tuple[float, Any]]:
    return zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)


def _numbers(summary: dict[str, float]) -> str:
    if not summary:
        return ""
    text = f", return median {summary['return_median']:.2e} MAD {summary['return_mad']:.2e}"
    text += f" 1 % {summary['return_q0.01']:.2%} 99 % {summary['return_q0.99']:.2%}"
    text += f", volatility {summary['volatility_per_year']:.1%} a year"
    return text + (f", {summary['zero_volume_share']:.2%} without volume" if "zero_volume_share" in summary else "")
