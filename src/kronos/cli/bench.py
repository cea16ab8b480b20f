"""`kronos bench`: how fast forecasts are on this machine."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kronos.errors import ConfigError

if TYPE_CHECKING:
    from kronos.forecast.bench import Result
    from kronos.forecast.bench_machine import Rates

_BUSY = 0.5  # processes running besides


@dataclass(frozen=True)
class Report:
    """What was asked for, on which machine, and what came out."""

    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    rates: "Rates"
    results: Sequence["Result"]


@click.command()
@click.option("--case", "cases", multiple=True, help="A case to run, by default all; may be repeated.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    default=["auto"],
    show_default=True,
    help="What runs the networks; may be repeated.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    default=["float32"],
    show_default=True,
    help="What their weights are held in; may be repeated.",
)
@click.option("--repeats", default=5, show_default=True, help="Timed runs, of which the median counts.")
@click.option("--no-slow", is_flag=True, help="Leave out the reference's algorithm, which takes most of the time.")
@click.option("--out", default=None, type=click.Path(path_type=Path), help="A JSON file for every figure.")
def bench(
    cases: tuple[str, ...],
    backends: tuple[str, ...],
    precisions: tuple[str, ...],
    repeats: int,
    no_slow: bool,
    out: Path | None,
) -> None:
    """Time forecasts, fast and slow.

    The engine is timed beside the reference's algorithm and beside the least time that this machine could take. Run it
    on a quiet machine: another program on the same cores makes everything several times slower.
    """
    check_file(out)
    report = measure(cases, backends, precisions, repeats, slow=not no_slow)
    click.echo(tabulate(report))
    if out is not None:
        write_record(out, record(report))
        click.echo(f"wrote {out}")


def check_file(out: Path | None) -> None:
    """Refuse, before minutes of work, a file that cannot be written."""
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise ConfigError(f"--out {out}: name a file in a folder that is there")


def measure(
    cases: Sequence[str], backends: Sequence[str], precisions: Sequence[str], repeats: int, *, slow: bool
) -> Report:
    """Measure the machine, then all cases; what is being done goes to the error stream of a terminal."""
    from kronos.forecast.bench import check_choices, find_cases, run_case
    from kronos.forecast.bench_machine import describe_machine, probe

    found = find_cases(cases)
    check_choices(backends, precisions, repeats)
    settings = {
        "cases": [case.name for case in found],
        "backends": list(backends),
        "precisions": list(precisions),
        "repeats": repeats,
        "slow": slow,
    }
    machine = describe_machine()
    say("the machine's bandwidth and arithmetic")
    rates = probe()
    results = [
        run_case(case, rates, backends=backends, precisions=precisions, repeats=repeats, slow=slow, say=say)
        for case in found
    ]
    say("")
    return Report(settings, machine, rates, results)


def say(what: str) -> None:
    """Replace the line on the error stream, where that is a terminal; "" clears it."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K" + what, nl=False, err=True)


def tabulate(report: Report) -> str:
    """The table and what has to be known to read it."""
    rows = [["case", "", "backend", "slow", "fast", "ratio", "path-bars/s", "floor", "reached"]]
    for result in report.results:
        slow = result.slow_seconds
        before = "-" if slow is None else ("~" if result.estimated else "") + seconds(slow)
        for run in result.runs:
            ratio = "-" if run.ratio is None else f"{run.ratio:,.1f}x"
            cells = [before, seconds(run.seconds), ratio, f"{run.path_bars_per_second:,.0f}"]
            name = f"{run.backend} ({run.ran})" if run.backend != run.ran else run.ran
            labels = [result.case.name, result.case.title, f"{name} {run.precision}"]
            rows.append([*labels, *cells, seconds(run.floor.seconds), f"{run.fraction:.0%}"])
    return "\n".join([*_columns(rows), "", *_notes(report)])


def _notes(report: Report) -> list[str]:
    """The lines below the table."""
    machine, rates, results = report.machine, report.rates, report.results
    notes = [
        f"{machine['processor']}, {machine['threads']} of {machine['cores']} cores, torch {machine['torch']}: "
        f"memory {rates.memory / 1e9:.1f} GB/s, cache {rates.cache / 1e9:.1f} GB/s, arithmetic "
        f"{rates.gemm / 1e9:.0f} GFLOP/s"
    ]
    if machine["load"] is not None and machine["load"] > _BUSY:
        notes.append(f"the machine was busy (load {machine['load']:.1f} at the start): these times are not its best")
    if any(result.estimated for result in results):
        timed = max(len(one.passes) for result in results for one in result.slow)
        notes.append(
            f"~ the network's passes were measured at {timed} steps of the horizon at most and interpolated linearly"
        )
    skipped = dict.fromkeys((one.backend, one.precision, one.reason) for result in results for one in result.skipped)
    return notes + [f"skipped {backend} {precision}: {reason}" for backend, precision, reason in skipped]


def seconds(value: float) -> str:
    """A time with three digits, in seconds or milliseconds."""
    if value >= 100:
        return f"{value:.0f} s"
    return f"{value:.{2 if value < 10 else 1}f} s" if value >= 1 else f"{value * 1000:.3g} ms"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    words = 3  # the first columns are words, the others numbers
    return [
        "  ".join(
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def record(report: Report) -> dict[str, Any]:
    """Everything that was measured, and where and how."""
    from kronos import __version__

    return {
        "kronos": __version__,
        "machine": {**report.machine, "rates": asdict(report.rates)},
        "settings": dict(report.settings),
        "cases": [result.record() for result in report.results],
    }


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    from kronos.writing import replacing

    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
