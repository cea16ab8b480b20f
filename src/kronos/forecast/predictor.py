"""The reference's predictor: same names, same arguments, same numbers, fewer ways to fall over.

`predict` returns the mean of the sampled paths as the reference computes it: statistics over the whole history given,
no candle repaired, published inference. For a distribution use `forecast` on the same object.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from kronos.bars import COLUMNS, parse_times, time_stamps
from kronos.bars.candles import AMOUNT, CLOSE, VOLUME, Array
from kronos.errors import BarsError, ConfigError
from kronos.forecast.backends import check_backend
from kronos.forecast.calibration import Calibration
from kronos.forecast.calibration.finding import Wanted, find_calibration
from kronos.forecast.ensemble import Ensemble, read_ensemble
from kronos.forecast.forecaster import Job, KronosForecaster
from kronos.forecast.sampling import Sampler, series_key
from kronos.model import Kronos, KronosTokenizer, load_pair


class KronosPredictor(KronosForecaster):
    """The reference's class; `forecast` is what it has beyond."""

    def __init__(
        self,
        model: Kronos,
        tokenizer: KronosTokenizer,
        device: str | torch.device | None = None,
        max_context: int | None = 512,
        clip: float = 5,
        *,
        name: str | None = None,
        backend: str = "auto",
        precision: str = "float32",
        calibration: Calibration | None = None,
    ) -> None:
        """Pair a network with its tokenizer; a wrong pair is refused. `max_context` None asks the network.

        `calibration` is for `forecast`; `predict` gives the reference's numbers.
        """
        how: dict[str, Any] = {"backend": backend, "precision": precision, "calibration": calibration}
        super().__init__(model, tokenizer, device, max_context, clip, name, **how)

    def predict(
        self,
        df: pd.DataFrame,
        x_timestamp: Any,
        y_timestamp: Any,
        pred_len: int,
        T: float = 1.0,
        top_k: int | None = 0,
        top_p: float | None = 0.9,
        sample_count: int = 1,
        verbose: bool = True,
    ) -> pd.DataFrame:
        """Mean forecast of the next `pred_len` bars, indexed by `y_timestamp`."""
        forecasts = self.predict_batch(
            [df], [x_timestamp], [y_timestamp], pred_len, T, top_k, top_p, sample_count, verbose
        )
        return forecasts[0]

    def predict_batch(
        self,
        df_list: Sequence[pd.DataFrame],
        x_timestamp_list: Sequence[Any],
        y_timestamp_list: Sequence[Any],
        pred_len: int,
        T: float = 1.0,
        top_k: int | None = 0,
        top_p: float | None = 0.9,
        sample_count: int = 1,
        verbose: bool = True,
    ) -> list[pd.DataFrame]:
        """Mean forecasts of several series; unlike the reference's, their histories may differ in length.

        Random numbers follow torch's global generator, so `torch.manual_seed` makes a call repeatable.
        """
        frames, pasts, futures = list(df_list), list(x_timestamp_list), list(y_timestamp_list)
        if not frames:
            raise BarsError("df_list is empty")
        if not len(frames) == len(pasts) == len(futures):
            raise ConfigError(
                f"df_list, x_timestamp_list and y_timestamp_list hold {len(frames)}, {len(pasts)} and {len(futures)} "
                "entries; they must be as many"
            )
        for what, count in (("pred_len", pred_len), ("sample_count", sample_count)):
            if count < 1:
                raise ConfigError(f"{what} must be at least 1, not {count}")
        seed = int(torch.randint(2**62, (1,)))
        engine = self._engine(Sampler.of(T, top_k, top_p, reference_rule=True), "exact", seed)
        names = ["df"] if len(frames) == 1 else [f"df_list[{i}]" for i in range(len(frames))]
        bars = [_reference_bars(frame, name) for frame, name in zip(frames, names, strict=True)]
        indices = [
            _stamps_of(times, pred_len, f"{name}: y_timestamp") for times, name in zip(futures, names, strict=True)
        ]
        jobs = []
        for values, past, future, name in zip(bars, pasts, indices, names, strict=True):
            clocks = [_stamps_of(past, len(values), f"{name}: x_timestamp"), future]
            stamps = np.concatenate([time_stamps(self._clock(times)) for times in clocks])
            jobs.append(Job(values, stamps, series_key(values.tobytes(), stamps.tobytes()), self._fit(values)))
        paths = self._continue(jobs, engine, sample_count, bool(verbose) and sys.stderr.isatty())
        means = [job.normaliser.invert(part).mean(axis=0) for job, part in zip(jobs, paths, strict=True)]
        return [
            pd.DataFrame(mean, columns=list(COLUMNS), index=index) for mean, index in zip(means, indices, strict=True)
        ]


def load(
    name: str | Path = "nano",
    *,
    tokenizer: str | Path | None = None,
    device: str | torch.device | None = None,
    max_context: int | None = None,
    revision: str | None = None,
    tokenizer_revision: str | None = None,
    backend: str = "auto",
    precision: str = "float32",
    calibration: Wanted = "own",
    **options: Any,
) -> KronosPredictor | Ensemble:
    """A model ready to forecast: "nano" (embedded), "mini", "small", "base", a folder, a weights file, or a Hub name.

    The tokenizer that belongs to it is found by itself; the revisions pin either on the Hub, and `options` go there
    (cache_dir, token, local_files_only). `backend` and `precision` say how the networks run: docs/engine.md. A folder
    with an `ensemble.json` is an `Ensemble`, whose members are all loaded with the same arguments.

    `calibration` is "own" (the calibration.json beside the weights, where there is one), a file, a `Calibration`, or
    None. Members of an ensemble are never calibrated; its own calibration is that of the pool.
    """
    check_backend(backend, precision)
    several = read_ensemble(name)
    if several is not None:
        alike: dict[str, Any] = {
            "tokenizer": tokenizer,
            "device": device,
            "max_context": max_context,
            "revision": revision,
            "tokenizer_revision": tokenizer_revision,
            "backend": backend,
            "precision": precision,
            "calibration": None,
            **options,
        }
        pooled = find_calibration(calibration, name)
        return Ensemble([load(folder, **alike) for folder in several.members], several.name, calibration=pooled)
    pair = load_pair(name, tokenizer=tokenizer, revision=revision, tokenizer_revision=tokenizer_revision, **options)
    found = find_calibration(calibration, name, pair.network, revision=revision, **options)
    how: dict[str, Any] = {"backend": backend, "precision": precision, "calibration": found}
    return KronosPredictor(pair.network, pair.tokenizer, device, max_context, name=pair.name, **how)


def _reference_bars(df: pd.DataFrame, name: str) -> Array:
    """The reference's reading of a frame: its exact column names, its filling rule, any finite numbers."""
    if not isinstance(df, pd.DataFrame):
        raise BarsError(f"{name}: expected a pandas DataFrame, got {type(df).__name__}")
    missing = [column for column in COLUMNS[: CLOSE + 1] if column not in df.columns]
    if missing:
        raise BarsError(
            f"{name}: no column for {', '.join(missing)}; the columns are {', '.join(map(repr, df.columns))}"
        )
    if df.empty:
        raise BarsError(f"{name}: the frame is empty")
    values = np.zeros((len(df), len(COLUMNS)))
    for number, column in enumerate(COLUMNS):
        if column in df.columns:
            values[:, number] = _finite(df[column], name, column)
    if "volume" not in df.columns:
        values[:, AMOUNT] = 0.0
    elif "amount" not in df.columns:
        values[:, AMOUNT] = values[:, VOLUME] * values[:, : CLOSE + 1].mean(axis=1)
    return values


def _finite(column: "pd.Series[Any]", name: str, label: str) -> Array:
    try:
        numbers = column.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BarsError(f"{name}: column '{label}' holds something that is not a number ({error})") from error
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        row = int(wrong[0])
        raise BarsError(
            f"{name}: row {row} (index {column.index[row]}), column '{label}' is {numbers[row]}; "
            f"{len(wrong)} such values, fill or drop them first"
        )
    return numbers


def _stamps_of(times: Any, count: int, what: str) -> pd.DatetimeIndex:
    """Time stamps as a DatetimeIndex of the length that is needed."""
    index = parse_times(times, what)
    if len(index) != count:
        raise BarsError(f"{what} holds {len(index)} times where {count} are needed")
    return index
