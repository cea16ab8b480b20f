"""The generation task: real sequences beside continuations that a forecaster generated from the same look-backs.

Each origin gives one real sequence, the candles that came, and one generated, a single path. Both are told in the units
of their look-back: log returns in its volatility, volumes in its mean and deviation. A fifth of the blocks of time is
held out, with the real and the generated sequences that begin there, and no two sequences share a bar: the networks
that judge cannot know their exam by heart.

- discriminative score: the share of held-out sequences that a network takes for the other kind; .5 is best. Once more
  for closes alone: the rest of a candle is often given away by ticks, such as highs that equal the close
- learning from them: mean absolute error and rank correlation of the next bar's return, predicted on held-out real
  sequences by a network that learned from generated ones, beside one that learned from real ones, and beside "0"
- stylised facts of both, with jackknife errors over blocks of time, and of their difference
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast
from kronos.bars.candles import CLOSE, HIGH, LOW, OPEN, VOLUME
from kronos.errors import BarsError, KronosError
from kronos.evaluate.metrics.uncertainty import standard_error
from kronos.evaluate.protocols.discriminate import discriminator_errors, next_bar_predictions
from kronos.evaluate.protocols.paper_figures import mean_of, spearman_of
from kronos.evaluate.protocols.paper_rollouts import Progress, Reporter, forecasts_of
from kronos.evaluate.protocols.paper_tasks import Cell, Entrant, PaperSettings
from kronos.evaluate.protocols.stylised import FACTS, jackknife, stylised_facts, time_blocks
from kronos.evaluate.rollouts import Trials
from kronos.evaluate.scoring import LEAST_UNIT, UNIT_BARS

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEATURES = ("close", "open", "up", "down", "volume")
"""Of a bar: close and open against the close before, wicks above and below the body, log volume.

Amounts are left out: where a source has none they are an exact product of price and volume, which no generator can
know, and which would give every sequence away.
"""

FEWEST_SEQUENCES = 150  # sequences: fewer do not teach a network to tell them apart
_PARTS, _HELD = 25, 2  # blocks of time; of every five the third is held out


@dataclass(frozen=True, eq=False)
class Sequences:
    """Real and generated sequences of one cell, row by row from the same origins."""

    real: Array  # (N, T, F)
    made: Array  # (N, T, F)
    places: pd.DataFrame  # asset and time of each origin
    failed: int = 0

    def __len__(self) -> int:
        """How many of each there are."""
        return len(self.real)

    @property
    def held(self) -> Flags:
        """Which are kept from training."""
        flags: Flags = time_blocks(self.places["time"].to_numpy(), _PARTS) % 5 == _HELD
        return flags

    @property
    def has_volume(self) -> bool:
        """Whether the market tells of volume."""
        return bool(self.real[..., -1].any())


def draw_sequences(
    entrant: Entrant, cell: Cell, settings: PaperSettings, reporter: Reporter | None = None
) -> Sequences:
    """The sequences of a cell: as many as asked for, or as there are without a common bar."""
    per_series = -(-settings.sequences // len(cell.windows.series))
    trials = _fewer(cell.trials(per_series), settings.sequences)
    options = entrant.options("generation", settings, cell.windows.lookback)
    progress = Progress(f"{entrant.name} generation {cell.name}", len(trials), reporter)
    real, made, kept, failed = [], [], [], 0
    for first in range(0, len(trials), settings.together):
        some = range(first, min(first + settings.together, len(trials)))
        pasts, times = [trials.past(i) for i in some], [trials.future_times(i) for i in some]
        bars = [past.to_numpy(dtype=np.float64).copy() for past in pasts]  # a forecaster may change its frame
        for i, past, forecast in zip(
            some, bars, forecasts_of(entrant, pasts, trials.horizon, times, options), strict=True
        ):
            failed += isinstance(forecast, KronosError)
            if isinstance(forecast, Forecast) and _moves(past):
                real.append(features(past, trials.truth(i)))
                made.append(features(past, forecast.paths[0]))
                kept.append(i)
        progress.add(len(some))
    if not real:
        raise BarsError(f"{entrant.name}, {cell.name}: no sequence could be generated; the look-backs stand still")
    places = pd.DataFrame(trials.places()).iloc[kept][["asset", "time"]].reset_index(drop=True)
    return Sequences(np.stack(real), np.stack(made), places, failed)


def features(past: Array, future: Array) -> Array:
    """`FEATURES` (H, 5) of candles (H, 6) in the units of the candles (L, 6) before them."""
    unit = np.diff(np.log(past[:, CLOSE]))[-UNIT_BARS:].std()
    before = np.log(np.concatenate([past[-1:, CLOSE], future[:-1, CLOSE]]))
    prices = np.log(future[:, : CLOSE + 1])
    top, bottom = np.maximum(prices[:, OPEN], prices[:, CLOSE]), np.minimum(prices[:, OPEN], prices[:, CLOSE])
    columns = (prices[:, CLOSE] - before, prices[:, OPEN] - before, prices[:, HIGH] - top, bottom - prices[:, LOW])
    known = np.log1p(past[:, VOLUME])
    spread = known.std()
    volume = (np.log1p(future[:, VOLUME]) - known.mean()) / spread if spread > 0 else np.zeros(len(future))
    return np.column_stack([*(column / unit for column in columns), volume])


def judge_sequences(sequences: Sequences, settings: PaperSettings) -> dict[str, tuple[float, float]]:
    """Every measure of a cell's sequences with its standard error: `discriminative`, `tstr_mae`, ..., the facts."""
    held = sequences.held
    places = sequences.places[held]
    found = {
        "discriminative": _discriminative(sequences, slice(None), settings),
        "discriminative_close": _discriminative(sequences, slice(1), settings),
    }
    tested = sequences.real[held]
    for name, source in (("tstr", sequences.made[~held]), ("trtr", sequences.real[~held])):
        said, came = next_bar_predictions(source, tested, epochs=settings.epochs, seed=settings.seed)
        found |= _prediction(name, said, came, places)
    found["zero_mae"] = _prediction("zero", np.zeros_like(came), came, places)["zero_mae"]
    return found | compared_facts(sequences)


def _discriminative(sequences: Sequences, seen: slice, settings: PaperSettings) -> tuple[float, float]:
    """The score of a network that sees these features."""
    held = sequences.held
    real, made = sequences.real[..., seen], sequences.made[..., seen]
    errors = np.concatenate(discriminator_errors(real, made, held, epochs=settings.epochs, seed=settings.seed))
    places = sequences.places[held]
    return float(errors.mean()), _error(errors - errors.mean(), pd.concat([places, places]))


def compared_facts(sequences: Sequences) -> dict[str, tuple[float, float]]:
    """The stylised facts with their errors: `real_...`, `made_...` and `gap_...`, generated less real."""

    def statistic(rows: NDArray[np.int64]) -> Mapping[str, float]:
        told: dict[str, float] = {}
        for kind, all_of in (("real", sequences.real), ("made", sequences.made)):
            some = all_of[rows]
            own = stylised_facts(some[..., 0], some[..., -1] if sequences.has_volume else None)
            told |= {f"{kind}_{name}": value for name, value in own.items()}
        return told | {f"gap_{name}": told[f"made_{name}"] - told[f"real_{name}"] for name in FACTS}

    return jackknife(statistic, time_blocks(sequences.places["time"].to_numpy()))


def _prediction(name: str, said: Array, came: Array, places: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Mean absolute error and rank correlation of predictions (M, T - 1); a sequence is one sample of their errors."""
    missed = mean_of(np.abs(said - came).mean(axis=1))
    ranked = spearman_of(said.ravel(), came.ravel())
    moved = ranked.influence.reshape(said.shape).mean(axis=1)
    return {
        f"{name}_mae": (missed.value, _error(missed.influence, places)),
        f"{name}_rank_ic": (ranked.value, _error(moved, places)),
    }


def _error(influence: Array, places: pd.DataFrame) -> float:
    return standard_error(influence, places["asset"].to_numpy(), places["time"].to_numpy())


def _moves(past: Array) -> bool:
    return bool(np.diff(np.log(past[:, CLOSE]))[-UNIT_BARS:].std() > LEAST_UNIT)


def _fewer(trials: Trials, count: int) -> Trials:
    """So many of the origins, spread evenly over the list."""
    if len(trials) <= count:
        return trials
    return Trials(trials.windows, trials.numbers[np.linspace(0, len(trials) - 1, count).round().astype(np.int64)])


def facts_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """The facts of one cell side by side: real, generated, and how many standard errors lie between them."""
    rows = []
    for name, title in FACTS.items():
        (real, real_se), (made, made_se), (gap, gap_se) = (found[f"{kind}_{name}"] for kind in ("real", "made", "gap"))
        apart = gap / gap_se if gap_se > 0 else float("nan")
        rows.append((name, title, real, real_se, made, made_se, gap, gap_se, apart))
    columns = ["fact", "title", "real", "real_se", "made", "made_se", "gap", "gap_se", "apart"]
    return pd.DataFrame(rows, columns=columns)
