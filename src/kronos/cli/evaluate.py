"""`kronos evaluate`: how good forecasts are, and what makes them better. Each command has a file of its own."""

import click

from kronos.cli.evaluate_calibrate import calibrate
from kronos.cli.evaluate_paper import paper
from kronos.cli.evaluate_periods import drift, periods
from kronos.cli.evaluate_run import report, run, show


@click.group()
def evaluate() -> None:
    """Judge forecasts beside honest baselines."""


evaluate.add_command(run)
evaluate.add_command(show)
evaluate.add_command(report)
evaluate.add_command(periods)
evaluate.add_command(drift)
evaluate.add_command(paper)
evaluate.add_command(calibrate)
