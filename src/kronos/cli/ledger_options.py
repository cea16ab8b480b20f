"""What the ledger's commands share: which ledger, and how they report."""

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kronos.evaluate.ledger.ledger import Ledger


def ledger_options(command: Any) -> Any:
    """--ledger and --json."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text."),
        click.option(
            "--ledger",
            "place",
            default=lambda: os.environ.get("KRONOS_LEDGER") or "ledger.db",
            show_default="KRONOS_LEDGER, else ledger.db",
            help="A SQLite file, or postgresql://USER@HOST/DATABASE.",
        ),
    ):
        command = option(command)
    return command


def open_ledger(place: str, *, create: bool = False) -> "Ledger":
    """The ledger that --ledger names."""
    from kronos.evaluate.ledger.ledger import Ledger

    return Ledger.open(place, create=create)
