"""`kronos train`: fitting networks to bars."""

from pathlib import Path
from typing import Any

import click


def _shared(command: Any) -> Any:
    """Options of both ways to train."""
    options = (
        click.option(
            "--data", multiple=True, metavar="PLACE", help="File, folder, lake or pack of bars; may be repeated."
        ),
        click.option(
            "--out", required=True, type=click.Path(path_type=Path), help="Folder for the run and its weights."
        ),
        click.option("--config", default=None, type=click.Path(path_type=Path), help="Settings as YAML or TOML."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting, as predictor.steps=200."
        ),
        click.option("--device", default=None, metavar="NAME", help="cpu, cuda or mps; by default the best there is."),
        click.option(
            "--threads", default=None, type=click.IntRange(min=1), help="Processor threads for the arithmetic."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def train() -> None:
    """Train networks on bars."""


@train.command()
@_shared
@click.option("--size", default=None, help="Zoo entry whose configuration the networks have (nano).")
def pretrain(
    data: tuple[str, ...],
    out: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    device: str | None,
    threads: int | None,
    size: str | None,
) -> None:
    """Train a tokenizer and a predictor from scratch.

    The defaults are the recipe of the embedded model. Interrupted or killed, the same command goes on where it was.
    """
    from kronos.cli.console import Console
    from kronos.train import PretrainSettings, joined
    from kronos.train import pretrain as run

    _use(threads)
    with joined(device) as ranks:  # all that can go wrong is inside: of several processes one says so
        settings = PretrainSettings.read(config, [*overrides, *_as_overrides(data=data, size=size)])
        summary = run(settings, out, ranks=ranks, reporter=Console())
        if ranks.leads:
            used = ", ".join(f"{name} {share:.0%}" for name, share in summary["codes_used"].items())
            click.echo(f"wrote {out / 'tokenizer'} and {out / 'predictor'} (codes used: {used})")


@train.command()
@_shared
@click.option("--base", default=None, metavar="NAME", help="Zoo name, folder or Hub id to begin with (nano).")
@click.option("--json", "as_json", is_flag=True, help="The comparison as JSON instead of a table.")
def finetune(
    data: tuple[str, ...],
    out: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    device: str | None,
    threads: int | None,
    base: str | None,
    as_json: bool,
) -> None:
    """Tune a model on your bars: its tokenizer, then its predictor.

    At the end base and tuned are compared on the last part of the data, which neither has seen. Interrupted or killed,
    the same command goes on where it was. Several processes: torchrun --nproc-per-node N -m kronos train finetune ...
    """
    import json

    from kronos.cli.console import Console
    from kronos.cli.judging import RolloutJudge
    from kronos.train import FinetuneSettings, joined
    from kronos.train import finetune as run

    _use(threads)
    with joined(device) as ranks:  # all that can go wrong is inside: of several processes one says so
        settings = FinetuneSettings.read(config, [*overrides, *_as_overrides(data=data, base=base)])
        judge = RolloutJudge(str(ranks.device), settings.seed)
        outcome = run(settings, out, judge=judge, ranks=ranks, reporter=Console())
        if not ranks.leads:
            return
        if as_json:
            click.echo(json.dumps(outcome.comparison.tree(), indent=1))
        else:
            click.echo(f"{outcome.comparison}\nwrote {out}: kronos.load({str(out)!r}) forecasts with it")


@train.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", default=None, type=click.Path(path_type=Path), help="The picture; by default RUN/training.png.")
def plot(run: Path, out: Path | None) -> None:
    """Draw the curves of a training run: losses, learning rate, scores, the best step, overfitting."""
    from kronos.train import draw_run

    click.echo(f"wrote {draw_run(run, out)}")


def _as_overrides(**given: Any) -> list[str]:
    """What was given by options of their own, as settings; lists become YAML."""
    import json

    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value]


def _use(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
