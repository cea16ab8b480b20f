"""The command line's root.

Command files import the rooms inside their functions: `kronos --help` must answer before torch would have loaded.
"""

from typing import Any

import click

from kronos import __version__
from kronos.cli.bench import bench
from kronos.cli.data import data
from kronos.cli.demo import demo
from kronos.cli.evaluate import evaluate
from kronos.cli.forecast import forecast
from kronos.cli.ledger import ledger
from kronos.cli.models import models
from kronos.cli.train import train
from kronos.errors import KronosError


class Root(click.Group):
    """Turns the package's own errors, and a disk that refuses, into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (KronosError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="kronos")
def main() -> None:
    """Candlestick bars as a language: distributions of future candles.

    Begin with `kronos demo`, then `kronos forecast YOUR.csv --horizon 24`.
    """


for command in (bench, data, demo, evaluate, forecast, ledger, models, train):
    main.add_command(command)
