"""`kronos evaluate run`, `report` and `show`: a benchmark, the page that tells of it, and its table."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kronos.evaluate.benchmark.contestants import Contestant
    from kronos.evaluate.benchmark.reporting import Progress
    from kronos.evaluate.benchmark.results import Results
    from kronos.evaluate.benchmark.task import Task

MODELS = "nano,fhs,garch,ewma,hv20"
_DRAWN_EVERY, _SAID_EVERY = 0.2, 15.0  # seconds: on a terminal, in a log
_WHOLE = click.IntRange(min=1)


def _task_options(command: Any) -> Any:
    """The settings of a task that have options of their own."""
    options = (
        click.option("--data", multiple=True, metavar="PLACE", help="File, folder, lake or pack; may be repeated."),
        click.option("--symbol", "symbols", multiple=True, metavar="NAME", help="Only this; may be repeated."),
        click.option("--market", "markets", multiple=True, metavar="NAME", help="Only this; may be repeated."),
        click.option("--timeframe", "timeframes", multiple=True, metavar="NAME", help="Only this; may be repeated."),
        click.option("--exclude", multiple=True, metavar="TEXT", help="Leave out series with this in their name."),
        click.option("--lookback", type=int, help="Bars that are known (400)."),
        click.option("--horizon", type=int, help="Bars to forecast (24)."),
        click.option("--steps", metavar="A,B,...", help="Bars of the horizon that are scored (1,6,12,24)."),
        click.option("--origins", type=int, help="Windows of each series, spread over it (4)."),
        click.option("--most", type=int, help="At most so many windows of all series together."),
        click.option("--since", metavar="DATE", help="Forecast only bars at or after this."),
        click.option("--until", metavar="DATE", help="Forecast only bars before this."),
        click.option("--samples", type=int, help="Paths of each forecast (100)."),
        click.option("--baseline-samples", type=int, help="Paths of each baseline's forecast (1000)."),
        click.option("--seed", type=int, help="Same seed, same scores (0)."),
        click.option("--metrics", metavar="A,B,...", help="Groups of figures beside CRPS and coverage (all)."),
        click.option(
            "--include-before-cutoff",
            is_flag=True,
            help="Judge windows too that a model may have been trained on; they are marked.",
        ),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting of the task."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _model_options(command: Any) -> Any:
    """How networks are made; baselines need none of it."""
    options = (
        click.option("--device", metavar="NAME", help="cpu, cuda or mps for networks; by default the best there is."),
        click.option("--backend", metavar="NAME", help="What runs networks: auto, native, torch, onnx (auto)."),
        click.option(
            "--precision", metavar="NAME", help="What weights are held in: float32, bfloat16, int8 (float32)."
        ),
        click.option(
            "--calibration", metavar="PLACE", help="A calibration's file for networks, `own` for theirs, or `none`."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


_price = click.option(
    "--price",
    type=float,
    default=0.04,
    show_default=True,
    help="Dollars for an hour of a core, in the report.",
)


@click.command()
@click.argument("task", required=False)
@_task_options
@click.option("--models", default=MODELS, show_default=True, help="Who is judged: A,B,...; LABEL=NAME names one anew.")
@_model_options
@click.option("--out", default="evaluation", show_default=True, type=click.Path(path_type=Path), help="Results folder.")
@click.option("--workers", type=_WHOLE, help="Processes that share the baselines; by default one for each core.")
@click.option("--restart", is_flag=True, help="Delete what a benchmark has left in the folder, and begin anew.")
@click.option("--no-report", is_flag=True, help="Write scores and summary, but no HTML report.")
@_price
@click.option("--json", "as_json", is_flag=True, help="Print only a JSON object: model -> its figures.")
def run(
    task: str | None,
    models: str,
    out: Path,
    workers: int | None,
    restart: bool,
    no_report: bool,
    price: float,
    as_json: bool,
    device: str | None,
    backend: str | None,
    precision: str | None,
    calibration: str | None,
    overrides: tuple[str, ...],
    **settings: Any,
) -> None:
    """Judge models beside baselines at rolling origins.

    TASK is a YAML or TOML file or the name of a task in the package (quick, standard); options are stronger than it.
    Killed, the same command goes on where it was. The exit status is 1 where a tripwire trips: the future was seen.
    """
    import os

    from kronos.evaluate.benchmark.runner import run as judge

    given = {"device": device, "backend": backend, "precision": precision}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if calibration is not None:
        options["calibration"] = None if calibration == "none" else calibration
    chosen = _task(task, overrides, settings)
    results = judge(
        chosen,
        _contestants(models, chosen.samples, options),
        out,
        workers=workers or os.cpu_count() or 1,
        reporter=Meter(),
        restart=restart,
    )
    if not no_report:
        click.echo(f"wrote {_report(results, out, price)}", err=True)
    _tell(results, out, as_json)
    if results.failed_tripwires:
        raise click.ClickException(_tripped(results))


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@_price
def report(results: Path, price: float) -> None:
    """Write the HTML report of a benchmark's folder RESULTS anew."""
    from kronos.evaluate.benchmark.results import read_results

    click.echo(f"wrote {_report(read_results(results), results, price)}")


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead: model -> its figures.")
def show(results: Path, as_json: bool) -> None:
    """Print the table of a benchmark's folder RESULTS."""
    from kronos.evaluate.benchmark.results import read_results

    found = read_results(results)
    _tell(found, results, as_json)
    if found.failed_tripwires:
        raise click.ClickException(_tripped(found))


class Meter:
    """Tells of a benchmark on the error stream: one line that moves on a terminal, a line now and then in a log."""

    def __init__(self) -> None:
        """Nothing has been shown."""
        self._live, self._width = sys.stderr.isatty(), 0
        self._shown, self._stage = 0.0, ""

    def say(self, line: str) -> None:
        """A line of its own."""
        self._clear()
        click.echo(line, err=True)

    def tick(self, progress: "Progress") -> None:
        """How far it is, where it is time to say so."""
        now, last = time.monotonic(), progress.done >= progress.total
        if progress.stage == self._stage and not last and now - self._shown < self._every:
            return
        self._shown, self._stage = now, progress.stage
        text = f"{progress.stage}  {progress.done:,}/{progress.total:,} {progress.unit}  {_left(progress.seconds_left)}"
        if not self._live:
            click.echo(text, err=True)
            return
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)
        if last:
            self._clear()

    @property
    def _every(self) -> float:
        return _DRAWN_EVERY if self._live else _SAID_EVERY

    def _clear(self) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            self._width = 0


def _left(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s left" if minutes else f"{rest}s left"


def _task(task: str | None, overrides: tuple[str, ...], settings: dict[str, Any]) -> "Task":
    """The task in a file or the package, with what was given by options."""
    import json

    from kronos.evaluate.benchmark.task import read_task

    given = {key: value for key, value in settings.items() if value is not None and value is not False and value != ()}
    return read_task(task, [*overrides, *(f"{key}={json.dumps(value)}" for key, value in given.items())])


def _contestants(models: str, samples: int, options: dict[str, Any]) -> "list[Contestant]":
    from kronos.cli.contestants import find_contestant, is_baseline, labelled
    from kronos.cli.forecast import make_ready

    names = [name.strip() for name in models.split(",") if name.strip()]
    if not all(is_baseline(labelled(name)[1]) for name in names):
        make_ready(options.get("backend", "auto"), options.get("device"))
    return [find_contestant(name, samples, options) for name in names]


def _report(results: "Results", out: Path, price: float) -> Path:
    from kronos.evaluate.benchmark.report import write_report

    return write_report(results, out, price=price)


def _tell(results: "Results", out: Path, as_json: bool) -> None:
    """The summary: a table and what it says in words, or JSON and nothing else."""
    import json

    from kronos.evaluate.benchmark.results import plain

    if as_json:
        click.echo(json.dumps(plain(results.summary()), indent=1))
        return
    rows = [["model", "CRPS", "+-", "50 % band", "90 % band", "seconds", "origins"]]
    ranked = sorted(results.summary().items(), key=lambda item: item[1]["crps"])
    for model, found in ranked:
        figures = [f"{found[key]:.4f}" for key in ("crps", "crps_se")]
        figures += [f"{found[key]:.1%}" for key in ("coverage50", "coverage90")]
        rows.append([model, *figures, f"{found['seconds']:.4f}", f"{found['origins']:,.0f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        click.echo("  ".join(cells).rstrip())
    for line in _verdict(results):
        click.echo(line)
    click.echo(f"scores, summary and report: {out}")


def _verdict(results: "Results") -> list[str]:
    """What the figures say in words: of all models, then of each."""
    from kronos.evaluate.benchmark.tables import all_tables
    from kronos.evaluate.benchmark.verdict import headline, verdicts

    tables = all_tables(results)
    found = verdicts(tables)
    return [*headline(found, tables), *(one.text for one in found.values())]


def _tripped(results: "Results") -> str:
    wires = [f"{one['model']}, {one['wire']}: {one['sentence']}" for one in results.failed_tripwires]
    return "the tripwires say that these scores are worth nothing: " + "; ".join(wires)
