"""`kronos evaluate`: how good forecasts are, and what makes them better. Each command has a file of its own."""

import click


@click.group()
def evaluate() -> None:
    """Judge forecasts beside honest baselines."""
