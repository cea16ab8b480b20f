"""Checking many series, one after another, and the report on all of them.

Each series is looked through by `bars.inspection.inspect` and then let go, so a lake of any size is checked in the
memory of its longest series. Where series come from is the caller's affair.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from kronos.bars.quality.findings import KINDS
from kronos.bars.quality.inspection import Inspection, inspect
from kronos.bars.quality.limits import Limits
from kronos.writing import replacing

Each = str | Mapping[str, str | None] | None
"""One value for all series, or one for each by its name."""


def check(
    series: Iterable[tuple[str, pd.DataFrame]],
    *,
    timeframe: Each = None,
    calendar: Each = None,
    limits: Limits | None = None,
    now: pd.Timestamp | None = None,
) -> Iterator[Inspection]:
    """The inspection of each named loose frame, as it is asked for; nothing of a frame is kept.

    `timeframe` and `calendar` are for all series or, as mappings, for each by name; where there is none the timeframe
    is inferred and the calendar learned.
    """
    moment = pd.Timestamp.now("UTC") if now is None else now
    for name, frame in series:
        yield inspect(
            frame,
            timeframe=_of(timeframe, name),
            calendar=_of(calendar, name),
            limits=limits,
            name=name,
            now=moment,
        )


def _of(value: Each, name: str) -> str | None:
    return value if value is None or isinstance(value, str) else value.get(name)


@dataclass
class Report:
    """The inspections of many series: counts over all, the worst first, and whether a script should stop."""

    inspections: list[Inspection] = field(default_factory=list)

    @classmethod
    def of(cls, inspections: Iterable[Inspection]) -> "Report":
        """A report on all of them."""
        return cls(list(inspections))

    def add(self, inspection: Inspection) -> None:
        """Take one more series into the report."""
        self.inspections.append(inspection)

    def worst(self, most: int | None = None) -> list[Inspection]:
        """The series in order of their score, those with errors first."""
        return sorted(self.inspections, key=lambda one: (one.ok, one.score, one.name))[:most]

    def counts(self) -> dict[str, int]:
        """How many places each kind was found at, over all series."""
        total = dict.fromkeys(KINDS, 0)
        for inspection in self.inspections:
            for kind, count in inspection.counts().items():
                total[kind] += count
        return {kind: count for kind, count in total.items() if count}

    def severities(self) -> dict[str, int]:
        """How many series have errors, have warnings but no errors, and have neither."""
        errors = sum(not one.ok for one in self.inspections)
        warned = sum(one.ok and _warns(one) for one in self.inspections)
        return {"error": errors, "warning": warned, "clean": len(self.inspections) - errors - warned}

    def failed(self, *, strict: bool = False) -> bool:
        """True where a series has an error; with `strict` also where one has a warning. Notes never fail."""
        return any(not one.ok or (strict and _warns(one)) for one in self.inspections)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values that JSON has, the worst series first."""
        return {
            "series": len(self.inspections),
            "rows": sum(one.rows for one in self.inspections),
            "severities": self.severities(),
            "counts": self.counts(),
            "inspections": [one.to_dict() for one in self.worst()],
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """The report as JSON text, also written to `path` where one is given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        if path is not None:
            with replacing(Path(path)) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        return text

    def lines(self, most: int | None = 20, *, details: int = 0) -> list[str]:
        """The report as text: a table of the worst series, then the sums; `details` findings of a kind below each.

        With `most` 0 there are only the sums.
        """
        if not self.inspections:
            return ["no series"]
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.counts().items()) or "nothing"
        split = ", ".join(f"{count:,} {name}" for name, count in self.severities().items())
        sums = f"{len(self.inspections):,} series ({split}); found: {kinds}"
        shown = self.worst(most)
        if not shown:
            return [sums]
        width = max(len("series"), *(len(one.name) for one in shown))
        text = [f"{'series':<{width}}  {'score':>6}  {'rows':>9}  {'cover':>7}  findings"]
        for one in shown:
            found = ", ".join(f"{kind} {count:,}" for kind, count in one.counts().items()) or "-"
            text.append(f"{one.name:<{width}}  {one.score:>6.2f}  {one.rows:>9,}  {one.coverage:>7.2%}  {found}")
            text += one.lines(details)[1:] if details else []
        if len(shown) < len(self.inspections):
            text.append(f"... and {len(self.inspections) - len(shown):,} more that score no lower")
        return [*text, sums]


def _warns(inspection: Inspection) -> bool:
    return any(finding.severity == "warning" for finding in inspection.findings)
