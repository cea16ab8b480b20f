"""`python -m kronos` is the command line."""

from kronos.cli import main

main(prog_name="kronos")
