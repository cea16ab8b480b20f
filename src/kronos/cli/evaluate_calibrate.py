"""`kronos evaluate calibrate`: what a model's past forecasts teach about its next ones, as a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kronos.cli.calibrating import Row

_WHOLE = click.IntRange(min=1)


@click.command()
@click.option("--model", default="nano", show_default=True, help="Zoo name, folder, Hub id, or a baseline.")
@click.option("--data", multiple=True, required=True, metavar="PLACE", help="File, folder, lake or pack; may repeat.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file, best beside the weights.")
@click.option(
    "--by",
    default="timeframe",
    show_default=True,
    type=click.Choice(["timeframe", "market", "series", "all"]),
    help="What has a table of its own.",
)
@click.option("--symbol", "symbols", multiple=True, metavar="NAME", help="Only this; may be repeated.")
@click.option("--timeframe", "timeframes", multiple=True, metavar="NAME", help="Only this; may be repeated.")
@click.option("--lookback", default=400, show_default=True, type=_WHOLE, help="Bars that are known.")
@click.option("--horizon", default=24, show_default=True, type=_WHOLE, help="Bars to forecast.")
@click.option("--steps", default="1,2,3,6,12,24", show_default=True, help="Steps of the horizon that are fitted.")
@click.option("--origins", default=8, show_default=True, type=_WHOLE, help="Windows of each series, spread over it.")
@click.option("--most", type=_WHOLE, help="At most so many in all, of each market and timeframe alike.")
@click.option("--since", metavar="DATE", help="Forecast only bars at or after this.")
@click.option("--until", metavar="DATE", help="Forecast only bars before this.")
@click.option("--samples", default=100, show_default=True, type=click.IntRange(min=20), help="Paths of each forecast.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same calibration.")
@click.option("--temperatures", default="1", show_default=True, metavar="A,B,...", help="Sampling temperatures to try.")
@click.option("--top-p", "top_ps", default="1", show_default=True, metavar="A,B,...", help="Values of top-p to try.")
@click.option("--sampler-origins", default=400, show_default=True, type=_WHOLE, help="Windows to try those at.")
@click.option("--no-drift", is_flag=True, help="Leave the forecasts' drift as it is.")
@click.option("--no-lean", is_flag=True, help="Do not lean on recent volatility.")
@click.option("--no-sides", is_flag=True, help="Stretch both sides alike.")
@click.option("--no-isotonic", is_flag=True, help="Leave P(up) as it follows from the rest.")
@click.option("--narrow", is_flag=True, help="Let bands become narrower on bars that the model was trained on, too.")
@click.option(
    "--check-share",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="The last share of windows, to judge it by before all are used.",
)
@click.option("--force", is_flag=True, help="Write it though it makes CRPS worse.")
@click.option("--keep", is_flag=True, help="Keep the forecasts in OUT.partial when done.")
@click.option("--device", default=None, metavar="NAME", help="cpu, cuda or mps; by default the best there is.")
@click.option("--backend", default="auto", show_default=True, help="What runs the networks: auto, native, torch, onnx.")
@click.option("--precision", default="float32", show_default=True, help="What weights are held in.")
@click.option("--threads", default=None, type=_WHOLE, help="Processor threads for the arithmetic.")
@click.option("--json", "as_json", is_flag=True, help="The check as JSON instead of a table.")
def calibrate(model: str, out: Path, by: str, force: bool, keep: bool, as_json: bool, **given: Any) -> None:
    """Fit a calibration to a model's forecasts of past bars.

    Fits on the earlier windows, judges by the later ones, and then fits on all. Killed, the same command goes on where
    it was (OUT.partial holds the forecasts). A calibration that makes CRPS more than 1 % worse is not written.
    """
    import json
    import shutil

    from kronos.cli.calibrating import check, collect_all, fitted, refusal
    from kronos.cli.contestants import find_forecaster
    from kronos.cli.evaluate_run import Meter
    from kronos.evaluate.benchmark.finding import find_origins
    from kronos.evaluate.benchmark.outcomes import balanced

    _prepare(out, given)
    meter, wanted = Meter(), _wanted(by, given)
    found = find_origins(_task(given), reporter=meter)
    chosen = found.origins if given["most"] is None else balanced(found.origins, given["most"])
    _enough(len(chosen), given["check_share"])
    load = {key: given[key] for key in ("device", "backend", "precision")}
    forecaster = find_forecaster(model, calibration=None, **load)
    partial = out.with_name(out.name + ".partial")
    outcomes, sampler, notes = collect_all(forecaster, chosen, wanted, partial, meter)
    for line in _remarks(found.left_out(), outcomes.time, outcomes.facts.get("cutoff")):
        meter.say(line)
    if not given["narrow"] and _early(outcomes.time, outcomes.facts.get("cutoff")):
        wanted = wanted.without_narrowing()
    rows = check(outcomes, wanted)
    click.echo(json.dumps({name: row.tree() for name, row in rows.items()}, indent=1) if as_json else _table(rows))
    if (why := refusal(rows)) and not force:
        raise click.ClickException(why)
    facts = {"lookback": given["lookback"], "horizon": given["horizon"], "model": forecaster.name}
    facts |= {"sampling": notes, "check": {name: row.tree() for name, row in rows.items() if "/" not in name}}
    network = getattr(forecaster, "model", None)
    weights = None if network is None else network.fingerprint()
    made = fitted(outcomes, wanted, sampler, facts, weights)
    made.save(out)
    if drift := made.groups["all"].drift:
        flattered = (2.0 * drift - drift**2) / (2.0 * wanted.samples)
        meter.say(
            f"{drift:.0%} of the drift goes; scores of {wanted.samples} paths take up to {flattered:.2%} for skill"
        )
    if not keep:
        shutil.rmtree(partial)
    click.echo(f"wrote {out}: calibration {made.id} of {len(outcomes):,} forecasts by {made.model}", err=as_json)


def _prepare(out: Path, given: dict[str, Any]) -> None:
    """What can be refused before the work."""
    from kronos.cli.forecast import make_ready
    from kronos.errors import ConfigError

    if out.is_dir():
        raise ConfigError(f"--out {out}: this is a folder; name a file in it, as {out / 'calibration.json'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    make_ready(given["backend"], given["device"])
    if given["threads"] is not None:
        import torch

        torch.set_num_threads(given["threads"])


def _enough(origins: int, check_share: float) -> None:
    """Said before the forecasts are made, not after it."""
    from kronos.errors import BarsError
    from kronos.forecast.calibration import LEAST_ORIGINS

    earlier = int(origins * (1.0 - check_share))
    if earlier < LEAST_ORIGINS:
        raise BarsError(
            f"{origins} windows are too few: {earlier} are left to fit on beside those of the check, and "
            f"{LEAST_ORIGINS} are needed; give more bars or more --origins"
        )


def _wanted(by: str, given: dict[str, Any]) -> Any:
    from kronos.cli.calibrating import Wanted

    temperatures, top_ps = (_numbers(given[name], option) for name, option in _LISTS[:2])
    off = {"drift": "no_drift", "lean": "no_lean", "sides": "no_sides", "up": "no_isotonic"}
    return Wanted(
        steps=tuple(int(step) for step in _numbers(given["steps"], "--steps")),
        samples=given["samples"],
        seed=given["seed"],
        ways=tuple((t, p) for t in temperatures for p in top_ps),
        sampler_origins=given["sampler_origins"],
        check_share=given["check_share"],
        fit={"by": by, **{what: not given[flag] for what, flag in off.items()}},
    )


_LISTS = (("temperatures", "--temperatures"), ("top_ps", "--top-p"))


def _numbers(text: str, option: str) -> list[float]:
    from kronos.errors import ConfigError

    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) <= 0:
        raise ConfigError(f"{option} {text}: give numbers above 0 with commas between them")
    return found


def _task(given: dict[str, Any]) -> Any:
    from kronos.evaluate.benchmark.task import Task

    names = ("data", "symbols", "timeframes", "lookback", "horizon", "origins", "since", "until", "samples", "seed")
    return Task.of({name: given[name] for name in names if given[name] is not None}, where="options")


def _remarks(left_out: dict[str, Any], times: Any, cutoff: Any) -> list[str]:
    """What was not used, and what was that one would rather not."""
    lines = [
        f"left out, {kind.replace('_', ' ')}: {what if isinstance(what, int) else ', '.join(what)}"
        for kind, what in left_out.items()
    ]
    if early := _early(times, cutoff):
        lines.append(
            f"{early:,} of {len(times):,} windows begin before the model's cut-off {cutoff}: it may have been trained "
            "on them, and forecast others less well; so no band is made narrower (--narrow allows it)"
        )
    return lines


def _early(times: Any, cutoff: Any) -> int:
    """How many windows the model may have been trained on."""
    import numpy as np

    return int((times < np.datetime64(str(cutoff)[:10]) + np.timedelta64(1, "D")).sum()) if cutoff else 0


def _table(rows: "Mapping[str, Row]") -> str:
    """Before and after, for all, the groups, and markets by timeframes."""
    from kronos.cli.calibrating import COVERS

    lines = [["held out", "origins", "CRPS", "calibrated", "change", "+-", *(f"{c} % band" for c in COVERS)]]
    for name, row in rows.items():
        figures = [f"{row.origins:,}", *(f"{one:.4f}" for one in row.crps), f"{row.change:+.2%}"]
        figures.append(f"{row.error:.2%}" if row.error == row.error else "-")
        lines.append([name, *figures, *(f"{a:.1%} > {b:.1%}" for a, b in row.covers.values())])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )
