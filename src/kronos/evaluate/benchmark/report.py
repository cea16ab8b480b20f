"""The report of a benchmark: one HTML file that needs nothing else, with the tables as JSON and the pictures beside it.

    OUT/report.html, OUT/tables.json, OUT/pictures/*.png

The verdict comes first, then what was judged, then the figures it rests on. Everything is made before anything is
written, and each is written whole.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kronos.evaluate.benchmark import report_tables, report_words
from kronos.evaluate.benchmark.panel import Panel
from kronos.evaluate.benchmark.pictures import draw_pictures
from kronos.evaluate.benchmark.report_html import (
    Column,
    Html,
    bullets,
    folded,
    joined,
    page,
    pairs,
    picture,
    safe,
    table,
    tag,
    unbroken,
)
from kronos.evaluate.benchmark.tables import PRICE, all_tables, as_tree
from kronos.evaluate.benchmark.verdict import Verdict, headline, verdicts
from kronos.writing import replacing, replacing_folder

if TYPE_CHECKING:
    from kronos.evaluate.benchmark.results import Results

REPORT_FILE, TABLES_FILE, PICTURES_FOLDER = "report.html", "tables.json", "pictures"
FORMAT = 1

_TITLES = {
    "leaderboard": "Who leads", "horizon": "CRPS by horizon", "places": "CRPS by market and timeframe",
    "regimes": "CRPS and coverage by volatility regime", "calibration": "What central bands cover",
    "coverage": "Coverage and width of the 90 % band by horizon", "pit": "PIT histograms",
    "reliability": "Reliability of probabilities", "width_error": "Width of bands and size of errors",
    "speed": "Seconds a forecast and CRPS",
}  # fmt: skip


@dataclass(frozen=True)
class _Parts:
    """What a report is made of."""

    results: "Results"
    panel: Panel
    tables: Mapping[str, pd.DataFrame]
    verdicts: Mapping[str, Verdict]
    pictures: Mapping[str, bytes]
    price: float
    command: str

    def picture(self, name: str) -> Html:
        """A picture with what is said below it; nothing where there was nothing to draw."""
        if name not in self.pictures:
            return Html("")
        return picture(self.pictures[name], _TITLES[name], report_words.CAPTIONS[name])

    @property
    def failed(self) -> list[str]:
        """What the tripwires that did not hold say."""
        return [f"{one['model']}, {one['wire']}: {one['sentence']}" for one in self.results.failed_tripwires]


def write_report(results: "Results", out: str | Path, *, price: float = PRICE, command: str | None = None) -> Path:
    """Write report, tables and pictures below a folder; the report's path.

    `price` is what an hour of one core costs, in dollars. `command` is shown as the way to do it again; by default the
    one that runs the folder's own task anew.
    """
    out = Path(out)
    panel = Panel.of(results)
    tables = all_tables(results, price=price)
    found = verdicts(tables)
    again = command if command is not None else report_words.command(results, out)
    parts = _Parts(results, panel, tables, found, draw_pictures(tables), price, again)
    text, tree = _page(parts), json.dumps(_tree(parts), ensure_ascii=False, allow_nan=False, indent=1)
    out.mkdir(parents=True, exist_ok=True)
    with replacing_folder(out / PICTURES_FOLDER) as folder:
        for name, png in parts.pictures.items():
            (folder / f"{name}.png").write_bytes(png)
    with replacing(out / TABLES_FILE) as temporary:
        temporary.write_text(tree + "\n", encoding="utf-8")
    with replacing(out / REPORT_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return out / REPORT_FILE


def _tree(parts: _Parts) -> dict[str, object]:
    """All of it as plain values."""
    return {
        "format": FORMAT,
        "task": parts.results.task.name,
        "price_per_core_hour": parts.price,
        "headline": headline(parts.verdicts, parts.tables, parts.failed),
        "verdicts": {name: found.tree() for name, found in parts.verdicts.items()},
        "tables": as_tree(parts.tables),
    }


def _page(parts: _Parts) -> str:
    title = f"{parts.results.task.name}: how good the forecasts are"
    sections = (
        ("verdict", "Verdict", _verdict(parts)),
        ("judged", "What was judged", _judged(parts)),
        ("leaderboard", "Leaderboard", (parts.picture("leaderboard"), report_tables.leader_tables(_board(parts)))),
        ("where", "Where it is better and worse", _where(parts)),
        ("calibration", "Calibration", _calibration(parts)),
        ("assets", "Which asset does better", _assets(parts)),
        ("beside", "Beside every baseline", _beside(parts)),
        ("speed", "Speed and cost", _speed(parts)),
        ("tripwires", "Tripwires", _tripwires(parts)),
        ("method", "What the words mean", (pairs(report_words.METHOD),)),
        ("again", "Do it again", (tag("pre", parts.command),)),
    )
    links = (Html(f'<a href="#{anchor}">{safe(heading)}</a>') for anchor, heading, _ in sections)
    body: list[str] = [tag("h1", title), tag("nav", *links)]
    for anchor, heading, content in sections:
        body += [tag("h2", heading, anchor=anchor), joined(content)]
    return page(title, body)


def _board(parts: _Parts) -> pd.DataFrame:
    return parts.tables["leaderboard"]


def _verdict(parts: _Parts) -> Iterable[str]:
    lines = headline(parts.verdicts, parts.tables, parts.failed)
    alarms, rest = lines[: len(parts.failed)], lines[len(parts.failed) :]
    yield from (tag("p", line, kind="alarm") for line in alarms)
    yield tag("p", unbroken(" ".join(rest)), kind="lead")
    kinds = dict(zip(_board(parts)["model"], _board(parts)["kind"], strict=True))
    for kind in ("model", "baseline"):
        for name, found in parts.verdicts.items():
            if kinds[name] == kind:
                yield tag("div", tag("b", name), ": ", unbroken(" ".join(found.sentences)), kind=f"said {kind}")
    yield tag("p", "± is one standard error. What the words mean, and when which is chosen, is below.", kind="faint")


def _judged(parts: _Parts) -> Iterable[str]:
    yield pairs(report_words.judged(parts.results, parts.panel))
    columns = [
        Column("model", lambda row: str(row["model"]), text=True),
        Column("what it is", lambda row: str(row["place"]), text=True),
        Column("kind", lambda row: str(row["kind"]), text=True),
        Column("cut-off", lambda row: str(row["cutoff"]), "the last day that it was trained on", text=True),
        Column("calibration", lambda row: str(row["calibration"]), text=True),
        Column("paths", lambda row: str(row["samples"])),
        Column("failed", lambda row: str(row["failed"]), "forecasts"),
        Column("settings", lambda row: str(row["options"]), text=True),
    ]
    yield table(report_words.known_of(parts.results), columns)
    missing = report_words.left_out(parts.results.left_out)
    yield tag("h3", "Left out")
    yield bullets(missing) if missing else tag("p", "Nothing.")


def _where(parts: _Parts) -> Iterable[str]:
    yield from (parts.picture(name) for name in ("horizon", "places", "regimes"))
    yield folded("Every step of the horizon", report_tables.step_table(parts.tables["steps"]))
    yield report_tables.slice_tables(parts.tables["slices"])


def _calibration(parts: _Parts) -> Sequence[str]:
    return [parts.picture(name) for name in ("calibration", "coverage", "pit", "reliability", "width_error")]


def _assets(parts: _Parts) -> Iterable[str]:
    found = parts.tables["cross_section"]
    if len(found):
        yield report_tables.cross_table(found)
    else:
        yield tag("p", "Too few days have forecasts of five assets in one timeframe; nothing can be said.")


def _beside(parts: _Parts) -> Iterable[str]:
    found = parts.tables["comparisons"]
    if len(found):
        yield report_tables.comparison_table(found)
    else:
        yield tag("p", "No baseline was judged.")


def _speed(parts: _Parts) -> Iterable[str]:
    yield parts.picture("speed")
    yield report_tables.speed_table(_board(parts))
    yield tag("p", f"At {parts.price:g} dollars for an hour of one core, for as many cores as each had to itself.")


def _tripwires(parts: _Parts) -> Iterable[str]:
    if not parts.results.tripwires:
        yield tag("p", "None were set: nothing says that no forecast has seen the future.")
        return
    yield tag(
        "p",
        "What must hold if no forecast has seen the future: tried at some of the origins, with bars and truths that "
        "are changed on purpose.",
    )
    columns = [
        Column("model", lambda row: str(row["model"]), text=True),
        Column("wire", lambda row: str(row["wire"]), text=True),
        Column("holds", lambda row: "yes" if row["passed"] else tag("b", "NO"), text=True),
        Column("what was found", lambda row: str(row["sentence"]), text=True),
    ]
    failed = parts.failed
    yield from (tag("p", line, kind="alarm") for line in failed)
    shown = table(parts.results.tripwires, columns)
    count = len(parts.results.tripwires)
    yield shown if failed else folded(f"All {count} hold", shown)
