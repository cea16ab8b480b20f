"""What an evaluation by market period leaves behind: tables (CSV, JSON), a report (Markdown, HTML), pictures."""

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from kronos.evaluate.protocols.periods_chart import draw_period
from kronos.evaluate.protocols.periods_run import PeriodResults, View
from kronos.evaluate.protocols.periods_summary_chart import draw_summary
from kronos.evaluate.protocols.periods_table import Table, by_period, overall, period_table, relation_table, relations
from kronos.evaluate.protocols.periods_words import relation_lines, settings_line, verdict, warnings_
from kronos.writing import replacing

PICTURES = "pictures"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #e4e7eb; text-align: left; white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; margin: .5rem 0; } .said { color: #52606d; }
"""


@dataclass
class Album:
    """Draws every period that it is shown, and remembers the pictures in order."""

    folder: Path
    pictures: list[tuple[str, str]] = field(default_factory=list)
    """What each shows, and its file."""

    def __call__(self, view: View) -> None:
        """Draw one period."""
        self.folder.mkdir(parents=True, exist_ok=True)
        title = f"{view.series.name} {view.period.name}"
        file = f"{len(self.pictures) + 1:03d}_{plain_name(title)}.png"
        draw_period(view, self.folder / file)
        self.pictures.append((title, file))


@dataclass(frozen=True)
class Section:
    """A part of a report: lines of text, a table, pictures by title and file."""

    title: str
    lines: Sequence[str] = ()
    table: Table | None = None
    pictures: Sequence[tuple[str, str]] = ()


def write_periods(results: PeriodResults, out: Path, pictures: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Write windows.csv, periods.csv, periods.json, report.md, report.html and the summary picture; returns the JSON.

    `pictures` are those of the periods, as an `Album` in OUT/pictures drew them.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / PICTURES).mkdir(exist_ok=True)
    table, means = by_period(results), overall(results)
    related = relations(table)
    tree = _tree(results, table, means, related)
    draw_summary(table, related, means, "Performance by market period", out / PICTURES / "summary.png")
    for name, frame in (("windows.csv", results.scores), ("periods.csv", table)):
        with replacing(out / name) as path:
            frame.to_csv(path, index=False)
    write_text(out / "periods.json", json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    sections = _sections(results, table, means, related, pictures)
    write_report("Evaluation by market period", settings_line(results), sections, out)
    return tree


def write_report(title: str, said: str, sections: Sequence[Section], out: Path) -> None:
    """Write OUT/report.md and OUT/report.html, which show the pictures of OUT/pictures."""
    markdown, page = [f"# {title}\n", said], [f"<h1>{html.escape(title)}</h1><p class=said>{html.escape(said)}</p>"]
    for one in sections:
        markdown += [f"\n## {one.title}\n", *(f"- {line}" for line in one.lines)]
        page.append(f"<h2>{html.escape(one.title)}</h2>")
        if one.lines:
            page.append("<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in one.lines) + "</ul>")
        if one.table is not None and one.table.rows:
            markdown.append("\n" + one.table.markdown() + "\n")
            page.append(one.table.html())
        for shown, file in one.pictures:
            markdown.append(f"\n![{shown}]({PICTURES}/{file})\n")
            page.append(f'<img src="{PICTURES}/{html.escape(file)}" alt="{html.escape(shown)}" loading="lazy">')
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
    write_text(out / "report.md", "\n".join(markdown) + "\n")
    write_text(
        out / "report.html", f"{head}<style>{_STYLE}</style></head><body>\n" + "\n".join(page) + "\n</body></html>\n"
    )


def report_text(results: PeriodResults) -> str:
    """The report for a terminal: what was done, the table, the sentences."""
    table, means = by_period(results), overall(results)
    parts = [settings_line(results), "", period_table(results, table, means).text(), ""]
    parts += [*verdict(results, means), *relation_lines(relations(table)), *warnings_(results, means)]
    return "\n".join(parts + _left_out(results))


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def plain_name(title: str) -> str:
    """A title as part of a file's name, on any system."""
    return re.sub(r"[^\w.-]+", "_", title).strip("_.")[:80] or "unnamed"


def plain(value: Any) -> Any:
    """A value as JSON has it: no not-a-number, no time stamps."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sections(
    results: PeriodResults,
    table: pd.DataFrame,
    means: Mapping[str, Mapping[str, float]],
    related: pd.DataFrame,
    pictures: Sequence[tuple[str, str]],
) -> list[Section]:
    summary = [("Performance against the regime", "summary.png")]
    found = [
        Section("What was found", [*verdict(results, means), *warnings_(results, means)]),
        Section("By period", table=period_table(results, table, means)),
        Section("How it varies with the market", relation_lines(related), relation_table(related), summary),
    ]
    if results.left_out:
        found.append(Section("Left out", [f"{name}: {reason}" for name, reason in results.left_out.items()]))
    return [*found, Section("Period by period", pictures=pictures)] if pictures else found


def _tree(
    results: PeriodResults, table: pd.DataFrame, means: Mapping[str, Mapping[str, float]], related: pd.DataFrame
) -> dict[str, Any]:
    """Everything as JSON has it: a period holds its regime and, by model, its figures."""
    market = list(results.periods.columns)
    periods = []
    for _, mine in table.groupby(["series", "period"], sort=False):
        rows = mine.to_dict("records")
        models = {row["model"]: {key: row[key] for key in row if key not in (*market, "model")} for row in rows}
        periods.append({**{key: rows[0][key] for key in market}, "models": models})
    tree = {
        "task": results.task.tree(),
        "periods": periods,
        "overall": means,
        "relations": related.to_dict("records"),
        "verdict": verdict(results, means),
        "warnings": [*warnings_(results, means), *relation_lines(related)],
        "left_out": results.left_out,
    }
    found: dict[str, Any] = plain(tree)
    return found


def _left_out(results: PeriodResults) -> list[str]:
    if not results.left_out:
        return []
    some = [f"{name} ({reason})" for name, reason in results.left_out.items()]
    more = f", and {len(some) - 3} more" if len(some) > 3 else ""
    return [f"left out: {', '.join(some[:3])}{more}"]
