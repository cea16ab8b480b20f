"""`kronos ledger`: forecasts written down before anybody could know, and what became of them."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kronos.cli.lake_options import say, table
from kronos.cli.ledger_add import add
from kronos.cli.ledger_options import ledger_options, open_ledger
from kronos.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from kronos.data import Series
    from kronos.evaluate.ledger.choosing import Choice
    from kronos.evaluate.ledger.ledger import Entry, Ledger

_SIGNS = 12  # of an id that are shown


def _choice_options(command: Any) -> Any:
    """Which forecasts are meant."""
    for option in (
        click.option("--until", default=None, help="Only origins up to this day or time."),
        click.option("--since", default=None, help="Only origins from this day or time on."),
        click.option("--timeframe", default=None, help="Only this timeframe."),
        click.option("--market", default=None, help="Only this market."),
        click.option("--symbol", default=None, help="Only this symbol."),
        click.option("--model", default=None, help="Only this model."),
    ):
        command = option(command)
    return command


@click.group()
def ledger() -> None:
    """Keep forecasts in an append-only ledger and score them when their bars have come."""


@ledger.command()
@click.option(
    "--data", "places", multiple=True, required=True, help="File, folder, lake (also a URL) or pack; may be repeated."
)
@click.option("--symbol", default=None, help="What the one series at the place is called, where its name does not say.")
@click.option("--fill", is_flag=True, help="Take the price to have stood still at missing bars, as on a holiday.")
@ledger_options
def reconcile(places: tuple[str, ...], symbol: str | None, fill: bool, place: str, as_json: bool) -> None:
    """Score the forecasts whose bars have arrived since, and write the outcomes down.

    Bars are matched by symbol, timeframe and time stamps. What was scored before stays as it is; where the bars are
    other ones now, another version of the outcome is added. Call it as often as you like.
    """
    book = open_ledger(place)
    known = book.forecasts()
    if known.empty:
        raise SourceError(f"{book.place}: holds no forecast yet; `kronos ledger add` writes one down")
    read: list[Series] = []
    for where in places:
        read += _series(where, known, symbol)
    found = book.reconcile(read, source=", ".join(places), fill=fill)
    if as_json:
        say({"ledger": book.place, **found.tree()})
        return
    for line in found.told:
        click.echo(line)
    click.echo(
        f"{found.scored:,} scored, {found.revised:,} revised, {found.settled:,} were scored before; {found.waiting:,} "
        f"wait for bars, {found.holes:,} have holes among theirs, {found.unmatched:,} have no series here"
    )


def _series(where: str, known: Any, symbol: str | None) -> "list[Series]":
    """The series at a place that the ledger has forecasts of."""
    from kronos.data import load_series

    timeframes = sorted(set(known["timeframe"]))
    if symbol is None:
        return load_series(where, symbols=sorted(set(known["symbol"])), timeframes=timeframes)
    found = load_series(where, timeframes=timeframes)
    if len(found) > 1:
        raise ConfigError(f"--symbol {symbol}: {where} holds {len(found)} series; it names the only one at a place")
    return [replace(one, symbol=symbol) for one in found]


@ledger.command()
@_choice_options
@click.option("--backfilled", is_flag=True, help="Count those too that were written down after their first bar.")
@click.option("--plot", default=None, type=click.Path(path_type=Path), help="Also draw the scoreboard (png, svg, pdf).")
@ledger_options
def score(backfilled: bool, plot: Path | None, place: str, as_json: bool, **choice: str | None) -> None:
    """The scoreboard: how good forecasts were, by model and series, beside a random walk and 20-bar volatility."""
    from kronos.evaluate.ledger.choosing import Choice

    book = open_ledger(place)
    board = book.scoreboard(Choice(**choice, backfilled=backfilled))
    if plot is not None:
        board.plot(plot)
    if as_json:
        say({"ledger": book.place, **board.tree()})
        return
    if board.trials.empty:
        late = f" ({board.left_out:,} backfilled ones; --backfilled counts them)" if board.left_out else ""
        click.echo(f"{book.place}: no such forecast{late}")
        return
    click.echo(board.text())
    if plot is not None:
        click.echo(f"wrote {plot}")


@ledger.command()
@click.argument("name", metavar="[ID]", required=False)
@_choice_options
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="List the last so many.")
@click.option("--plot", default=None, type=click.Path(path_type=Path), help="Draw the one forecast with what came.")
@ledger_options
def show(name: str | None, limit: int, plot: Path | None, place: str, as_json: bool, **choice: str | None) -> None:
    """List the forecasts in the ledger, or show the one whose id begins with ID."""
    from kronos.evaluate.ledger.choosing import Choice

    book = open_ledger(place)
    if name is not None:
        _show_one(book.entry(name), plot, as_json)
        return
    if plot is not None:
        raise ConfigError("--plot draws one forecast; name its ID (`kronos ledger score --plot` draws the scoreboard)")
    _show_list(book, Choice(**choice, backfilled=True), limit, as_json)


def _show_list(book: "Ledger", choice: "Choice", limit: int, as_json: bool) -> None:
    rows = book.forecasts(choice)
    last = rows.iloc[-limit:]
    if as_json:
        names = ["number", "id", "made_at", "model", "revision", "weights", "calibration", "market", "symbol"]
        names += ["timeframe", "origin", "first", "last", "samples", "horizon", "last_close", "marks", "version"]
        say({"ledger": book.place, "forecasts": json.loads(last[names].to_json(orient="records", date_format="iso"))})
        return
    lines = [
        [
            str(row["number"]),
            row["id"][:_SIGNS],
            row["made_at"][:16].replace("T", " "),
            row["model"],
            f"{row['symbol']} {row['timeframe']}",
            f"{row['origin']:%Y-%m-%d %H:%M}",
            f"{row['samples']} x {row['horizon']}",
            " ".join(filter(None, [_state(row["version"]), row["marks"]])),
        ]
        for row in last.to_dict("records")
    ]
    table(["", "id", "written down", "model", "series", "last bar known", "paths", "state"], lines, left=8)
    if len(rows) > len(last):
        click.echo(f"the last {len(last):,} of {len(rows):,}")


def _state(version: int) -> str:
    return "waiting" if version == 0 else "scored" if version == 1 else f"scored, version {version}"


def _show_one(entry: "Entry", plot: Path | None, as_json: bool) -> None:
    statement = entry.statement
    forecast, said = statement.forecast(), statement.said
    if plot is not None:
        forecast.plot(plot, truth=_truth(entry))
    facts: dict[str, Any] = {"id": entry.id, "number": entry.number, "written down": entry.made_at, **vars(said)}
    facts |= {"seed": statement.seed, "paths": forecast.samples, "look-back": statement.lookback, "by": entry.program}
    facts |= {"data": statement.data, "last bar known": str(statement.index(statement.past_times)[-1])}
    facts |= {"last close": statement.last_close, "marks": " ".join(entry.marks)}
    steps = forecast.to_frame().rename_axis("time").reset_index()[["time", *_STEP_COLUMNS]]
    if as_json:
        outcomes = [
            {**{k: v for k, v in vars(one).items() if k not in ("bars", "figures")}, "figures": _plain(one.figures)}
            for one in entry.outcomes
        ]
        rows = json.loads(steps.to_json(orient="records", date_format="iso"))
        say({**facts, "forecast": rows, "outcomes": outcomes})
        return
    for key, value in facts.items():
        if value not in ("", None, "{}"):
            click.echo(f"{key:>15}  {value}")
    _show_steps(entry, steps)
    for one in entry.outcomes:
        shown = ", ".join(f"{key} {one.figures[key]:.3f}" for key in _FIGURES if key in one.figures)
        click.echo(f"outcome {one.version}, {one.made_at[:16].replace('T', ' ')}, from {one.source}: {shown}")
    if not entry.outcomes:
        click.echo("its bars have not come yet")
    if plot is not None:
        click.echo(f"wrote {plot}")


_STEP_COLUMNS = ("close_q05", "close_q50", "close_q95", "prob_up")
_FIGURES = ("crps", "walk_crps", "hv20_crps", "cover50", "cover90", "brier", "direction")


def _show_steps(entry: "Entry", steps: Any) -> None:
    from kronos.cli.output import price

    truth = _truth(entry)
    heads = ["step", "time", "5 %", "50 %", "95 %", "P(up)"] + (["came"] if truth is not None else [])
    lines = []
    for number, row in enumerate(steps.itertuples(index=False), 1):
        cells = [str(number), f"{row[0]:%Y-%m-%d %H:%M}", *(price(value) for value in row[1:4]), f"{row[4]:.2f}"]
        lines.append(cells + ([price(truth["close"].iloc[number - 1])] if truth is not None else []))
    table(heads, lines, left=0)


def _truth(entry: "Entry") -> Any:
    """The bars of the newest outcome, in the prices that the forecast was made in."""
    import pandas as pd

    from kronos.bars import COLUMNS

    if not entry.outcomes:
        return None
    newest = entry.outcomes[-1]
    frame = pd.DataFrame(newest.bars, index=entry.statement.index(entry.statement.times), columns=list(COLUMNS))
    frame[list(COLUMNS[:4])] /= newest.factor
    return frame


def _plain(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else value for name, value in figures.items()}


@ledger.command()
@click.option("--expect", default=None, help="A digest from an earlier check: the chain must still lead through it.")
@ledger_options
def check(expect: str | None, place: str, as_json: bool) -> None:
    """Read every row and say whether any was changed or taken away; the exit status is then 1."""
    book = open_ledger(place)
    found = book.check(expect)
    if as_json:
        say({"ledger": book.place, "identity": book.identity, **found.tree()})
    else:
        for problem in found.problems:
            click.echo(problem)
        if found.more:
            click.echo(f"... and {found.more:,} more")
        click.echo(
            f"{found.forecasts:,} forecasts, {found.outcomes:,} outcomes: "
            + ("nothing was changed" if found.sound else "THIS LEDGER WAS CHANGED")
        )
        click.echo(f"last forecast {found.head}\nlast outcome  {found.outcomes_head}")
    if not found.sound:
        sys.exit(1)


ledger.add_command(add)
