"""`kronos evaluate paper`: the five tasks of the paper, for any models and baselines."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kronos.errors import ConfigError

if TYPE_CHECKING:
    from kronos.evaluate.protocols.paper_tasks import Entrant

_TASKS = ("price", "return", "volatility", "generation", "signals", "all")


@click.command()
@click.option(
    "--data", multiple=True, required=True, metavar="PLACE", help="File, folder, lake or pack of bars; may be repeated."
)
@click.option("--models", default="nano,hv20", show_default=True, metavar="A,B", help="Models and baselines.")
@click.option("--task", "tasks", multiple=True, type=click.Choice(_TASKS), help="Which task (all); may be repeated.")
@click.option("--since", default=None, metavar="DATE", help="First day that may be predicted (2024-07-01).")
@click.option("--until", default=None, metavar="DATE", help="Leave out this day and what follows.")
@click.option(
    "--origins",
    default=None,
    type=click.IntRange(min=0),
    metavar="N",
    help="Origins of each series; 0 for all that share no bar to predict (0).",
)
@click.option(
    "--samples", default=None, type=click.IntRange(min=1), help="Paths of networks, instead of the paper's number."
)
@click.option(
    "--baseline-samples", default=None, type=click.IntRange(min=2), metavar="N", help="Paths of baselines (100)."
)
@click.option(
    "--sequences", default=None, type=click.IntRange(min=1), metavar="N", help="Sequences to generate in a cell (6000)."
)
@click.option("--epochs", default=None, type=click.IntRange(min=1), help="Of the networks that judge them (20).")
@click.option(
    "--dates", default=None, type=click.IntRange(min=0), metavar="N", help="Days with signals; 0 for every one (0)."
)
@click.option("--symbol", "symbols", multiple=True, metavar="NAME", help="Only this symbol; may be repeated.")
@click.option("--market", "markets", multiple=True, metavar="NAME", help="Only this market; may be repeated.")
@click.option(
    "--timeframe", "timeframes", multiple=True, metavar="NAME", help="Only these bars, as 1h; may be repeated."
)
@click.option(
    "--overflow",
    default=None,
    type=click.Choice(["exact", "slide"]),
    help="What networks do past their context (exact).",
)
@click.option("--seed", default=None, type=int, help="Same seed, same figures (0).")
@click.option("--include-before-cutoff", is_flag=True, help="Judge models on days they were trained on too, marked.")
@click.option("--device", default=None, metavar="NAME", help="cpu, cuda or mps; by default the best there is.")
@click.option("--config", default=None, type=click.Path(path_type=Path), help="Settings as YAML or TOML.")
@click.option("--out", default=Path("paper"), show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON instead of tables.")
def paper(
    models: str,
    tasks: tuple[str, ...],
    device: str | None,
    config: Path | None,
    out: Path,
    as_json: bool,
    include_before_cutoff: bool,
    **given: Any,
) -> None:
    """Judge models by the paper's five tasks, beside baselines.

    Price paths, returns, realised variance, generated sequences, and signals for a portfolio, with the paper's
    look-back, horizon and sampler of each. Interrupted or killed, the same command goes on where it was.
    """
    import json

    from kronos.cli.console import Console
    from kronos.cli.output import check_folder
    from kronos.evaluate.protocols.paper import Paper
    from kronos.evaluate.protocols.paper_store import FIGURES, PICTURE, SUMMARY
    from kronos.evaluate.protocols.paper_tasks import PaperSettings, read_all
    from kronos.evaluate.protocols.paper_words import facts_told, told

    chosen = [] if "all" in tasks else list(tasks)
    given |= {"tasks": chosen, "include_before_cutoff": include_before_cutoff or None}
    settings = PaperSettings.read(config, _as_overrides(given))
    check_folder(out)
    console = Console()
    entrants = [entrant(name, device) for name in named(models)]
    series, refused = read_all(settings)
    for name, why in refused.items():
        console.say(f"refused {name}: {why}")
    run = Paper(settings, entrants, out, console)
    summary = run.run(series, refused)
    if as_json:
        click.echo(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        facts = facts_told(run.table, [one.name for one in entrants])
        click.echo("\n\n".join(text for text in (told(summary), facts) if text))
    console.say(f"wrote {out / SUMMARY}, {FIGURES}, {PICTURE} and what they are made of")


def named(models: str) -> list[str]:
    """The names in a list with commas."""
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise ConfigError("--models names nobody; try nano,hv20")
    return names


def entrant(name: str, device: str | None) -> "Entrant":
    """Who is judged under a name, as it is without calibration."""
    from kronos.cli.contestants import find_forecaster, is_baseline, labelled
    from kronos.evaluate.protocols.paper_tasks import Entrant

    label, place = labelled(name)
    if is_baseline(place):
        return Entrant.of(label, find_forecaster(place))
    network = find_forecaster(place, device=device, calibration=None)  # the protocol sets the sampler itself
    return Entrant.of(label, network, sampled=True)


def _as_overrides(given: dict[str, Any]) -> list[str]:
    """What was given by options of their own, as settings; lists become YAML."""
    import json

    there = {key: value for key, value in given.items() if value not in (None, [], ())}
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in there.items()]
