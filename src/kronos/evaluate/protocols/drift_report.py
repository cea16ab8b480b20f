"""What the drift report leaves behind: slopes and every drift as CSV, JSON, Markdown, HTML, pictures."""

import json
from pathlib import Path
from typing import Any

from kronos.evaluate.protocols.drift_chart import draw_lean, draw_slopes
from kronos.evaluate.protocols.drift_run import DriftResults
from kronos.evaluate.protocols.drift_slope import slopes
from kronos.evaluate.protocols.drift_words import settings_line, slope_table, step_table, verdict, warnings_
from kronos.evaluate.protocols.periods_report import PICTURES, Section, plain, plain_name, write_report, write_text
from kronos.writing import replacing

_MEANING = (
    "A slope of -.10 u per u says: after a rise of one u, forecasts fall by a tenth of one u more than after none. "
    "u is the usual move over as many bars. Forecast and market are set beside the same trend at the same origins."
)


def write_drift(results: DriftResults, out: Path) -> dict[str, Any]:
    """Write slopes.csv, drifts.csv, drift.json, report.md, report.html and pictures; returns the JSON."""
    pictures = out / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    table = slopes(results)
    drawn = [("Lean and drift by look-back", "slopes.png")]
    draw_slopes(results, table, pictures / "slopes.png")
    for number, model in enumerate(results.models, start=1):
        file = f"lean_{number:02d}_{plain_name(model)}.png"
        draw_lean(results, table, model, pictures / file)
        drawn.append((f"{model}: drift over the recent trend", file))
    for name, frame in (("slopes.csv", table), ("drifts.csv", results.rows)):
        with replacing(out / name) as path:
            frame.to_csv(path, index=False)
    tree: dict[str, Any] = plain(
        {
            "task": results.task.tree(),
            "slopes": table.to_dict("records"),
            "verdict": verdict(results, table),
            "warnings": warnings_(results),
        }
    )
    write_text(out / "drift.json", json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    sections = [
        Section("What was found", [*verdict(results, table), _MEANING, *warnings_(results)]),
        Section("Slopes on the trend", (), slope_table(results, table)),
        Section("How the lean grows with the step", (), step_table(results, table)),
        Section("Pictures", (), None, drawn),
    ]
    write_report("Drift report", settings_line(results), sections, out)
    return tree


def report_text(results: DriftResults) -> str:
    """The report for a terminal."""
    table = slopes(results)
    parts = [settings_line(results), "", slope_table(results, table).text(), ""]
    return "\n".join([*parts, *verdict(results, table), _MEANING, *warnings_(results)])
