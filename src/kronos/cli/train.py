"""`kronos train`: fitting networks to bars."""

from pathlib import Path

import click


@click.group()
def train() -> None:
    """Train networks on bars."""


@train.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the run and its weights.")
@click.option("--config", default=None, type=click.Path(path_type=Path), help="Settings as YAML or TOML.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting, as predictor.steps=200.")
def pretrain(data: Path, out: Path, config: Path | None, overrides: tuple[str, ...]) -> None:
    """Train a tokenizer and a predictor from scratch on every bar file below DATA.

    The defaults are the recipe of the embedded model. Interrupted, the same command goes on where it was.
    """
    from kronos.train import PretrainSettings
    from kronos.train import pretrain as run

    settings = PretrainSettings.read(config, overrides)
    summary = run(data, out, settings, report=click.echo)
    used = ", ".join(f"{name} {share:.0%}" for name, share in summary["codes_used"].items())
    click.echo(f"wrote {out / 'tokenizer'} and {out / 'predictor'} (codes used: {used})")
