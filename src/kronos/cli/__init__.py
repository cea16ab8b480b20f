"""Commands, and nothing else: each file reads arguments, calls a room, prints."""

from kronos.cli.app import main

__all__ = ["main"]
