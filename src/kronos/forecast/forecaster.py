"""From frames of bars to forecasts: the network as a `Forecaster`.

One frame, a list or a dict of frames of any lengths goes in, and all are written together. Everything
here works on canonical frames; how tokens are continued is the engine's, and what runs the networks the backend's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, cast, overload

import numpy as np
import pandas as pd
import torch

from kronos.bars import (
    Forecast,
    Normaliser,
    calendar_of,
    canonical,
    fit_normaliser,
    infer_timeframe,
    next_times,
    repair,
    time_stamps,
)
from kronos.bars.asking import aligned, check_asked, check_count, checked_future, named, shaped
from kronos.bars.candles import AMOUNT, VOLUME, Array
from kronos.bars.forecast import Times
from kronos.errors import ConfigError
from kronos.forecast.backends import Backend, check_backend, make_backend
from kronos.forecast.calibration import Calibration, Sampling
from kronos.forecast.engine import Engine, Overflow, Prompt
from kronos.forecast.progress import Progress, meter
from kronos.forecast.sampling import Sampler, series_key
from kronos.model import Kronos, KronosTokenizer, check_pair, context_of, version_of

LEAST_BARS = 8
"""A look-back shorter than this has no statistics to speak of."""

_LOWEST_PRICE = 1e-4  # of the last close: where a published network's path below zero is put


class Options(TypedDict, total=False):
    """The keyword arguments of `forecast` that do not depend on the shape of its data."""

    samples: int
    T: float | None
    top_k: int | None
    top_p: float | None
    seed: int
    lookback: int | None
    calendar: str | None
    overflow: Overflow
    progress: Progress


@dataclass(frozen=True)
class Job:
    """One series to be continued: its look-back, and the clock readings of look-back and future."""

    bars: Array  # (T, 6)
    stamps: np.ndarray[Any, np.dtype[np.int64]]  # (T + H, 5)
    key: int
    normaliser: Normaliser  # fitted on the look-back


class KronosForecaster:
    """A network and its tokenizer, ready to forecast."""

    def __init__(
        self,
        model: Kronos,
        tokenizer: KronosTokenizer,
        device: str | torch.device | None = None,
        max_context: int | None = None,
        clip: float = 5,
        name: str | None = None,
        *,
        backend: str = "auto",
        precision: str = "float32",
        calibration: Calibration | None = None,
    ) -> None:
        """Put both on a device: the one named, else the best there is. `backend` and `precision` say how they run.

        Forecasts are calibrated by `calibration`, where there is one.
        """
        check_pair(model, tokenizer)
        self.device = _device(device)
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer.to(self.device).eval()
        self.max_context = max_context if max_context is not None else context_of(model)
        if self.max_context < 1:
            raise ConfigError(f"max_context must be at least 1, not {self.max_context}")
        self.clip = clip
        self.calibration = calibration
        self._name = name or model.name or "kronos"
        self._wanted = (backend, precision)
        self._made: tuple[Any, Backend] | None = None
        check_backend(backend, precision)

    @property
    def name(self) -> str:
        """What tables and ledgers call it."""
        return self._name

    @property
    def backend(self) -> Backend:
        """What runs the networks, made anew when their weights have changed."""
        version = version_of(self.model, self.tokenizer)
        if self._made is None or self._made[0] != version:
            self._made = None  # the old one's memory goes before the new one's comes
            self._made = (version, make_backend(self._wanted[0], self.model, self.tokenizer, self._wanted[1]))
        return self._made[1]

    @overload
    def forecast(
        self, data: pd.DataFrame, horizon: int, *, y_timestamp: "Times | None" = None, **options: Unpack[Options]
    ) -> Forecast: ...

    @overload
    def forecast(
        self,
        data: Sequence[pd.DataFrame],
        horizon: int,
        *,
        y_timestamp: "Sequence[Times] | None" = None,
        **options: Unpack[Options],
    ) -> list[Forecast]: ...

    @overload
    def forecast(
        self,
        data: Mapping[str, pd.DataFrame],
        horizon: int,
        *,
        y_timestamp: "Mapping[str, Times] | None" = None,
        **options: Unpack[Options],
    ) -> dict[str, Forecast]: ...

    def forecast(
        self,
        data: pd.DataFrame | Sequence[pd.DataFrame] | Mapping[str, pd.DataFrame],
        horizon: int,
        *,
        samples: int = 100,
        T: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        y_timestamp: Any = None,
        lookback: int | None = None,
        calendar: str | None = None,
        overflow: Overflow = "exact",
        progress: Progress = False,
    ) -> Forecast | list[Forecast] | dict[str, Forecast]:
        """The distribution of the next `horizon` bars, as `samples` paths of valid candles.

        `data` is a frame, or a list or dict of frames of any lengths; the result has the same shape. Time stamps of the
        future follow from the bars' own times, from `calendar` ("24/7", "24/5", "SSE", ...) or are given as
        `y_timestamp`, in the shape of `data`. `lookback` reads the last so many bars, at most max_context; by default
        as many as leave room for the horizon (at least half the context), because beyond a full context every bar costs
        a whole window (`overflow`). `progress` is True for a meter, or a function of (done, total).

        T, top_k and top_p are those that the model's calibration was fitted with, or 1, 0 and 1 where it has none.
        Asked for others, the forecast is not calibrated, and `meta["calibration_skipped"]` says so.
        """
        check_asked(horizon, samples, seed)
        names, frames = named(data)
        given = aligned(y_timestamp, data, names)
        sampling = Sampling.of(self.calibration, T, top_k, top_p)
        sampler = Sampler.of(sampling.T, sampling.top_k, sampling.top_p)
        engine = self._engine(sampler, overflow, int(seed))
        longest = self._longest(lookback, horizon)
        meta = {
            "model": self.name,
            "cutoff": self.model.cutoff,
            "seed": int(seed),
            "T": sampling.T,
            "top_k": sampler.top_k,
            "top_p": sampler.top_p,
            "overflow": overflow,
            "backend": engine.backend.name,
            "precision": self._wanted[1],
        }
        works = [
            self._prepare(frame, name, horizon, longest, times, calendar)
            for name, frame, times in zip(names, frames, given, strict=True)
        ]
        paths = self._continue([work.job for work in works], engine, samples, progress)
        forecasts = [
            sampling.finish(work.forecast(normalised, meta)) for work, normalised in zip(works, paths, strict=True)
        ]
        return shaped(forecasts, data)

    def _longest(self, lookback: int | None, horizon: int) -> int:
        """How many bars are read. Left to us, look-back and horizon fit into the context together, if they can."""
        if lookback is None:
            return max(self.max_context - horizon, self.max_context // 2, min(LEAST_BARS, self.max_context))
        check_count("lookback", lookback)
        if lookback < LEAST_BARS:
            raise ConfigError(f"a look-back of {lookback} bars is too short; at least {LEAST_BARS} are needed")
        return min(lookback, self.max_context)

    def _prepare(
        self, frame: pd.DataFrame, name: str, horizon: int, longest: int, given: "Times | None", calendar: str | None
    ) -> "_Work":
        bars = canonical(frame, name=name, min_rows=LEAST_BARS)
        index = cast(pd.DatetimeIndex, bars.index)
        timeframe = infer_timeframe(index)
        if given is None:
            future, said = next_times(index, horizon, timeframe=timeframe, calendar=calendar), None
        else:
            future, said = checked_future(given, index, horizon, name), "as given"
        window = bars.iloc[-longest:]
        clocks = [time_stamps(self._clock(times)) for times in (cast(pd.DatetimeIndex, window.index), future)]
        values = np.ascontiguousarray(window.to_numpy(dtype=np.float64))
        times = cast(pd.DatetimeIndex, window.index).as_unit("ns").asi8
        return _Work(
            job=Job(values, np.concatenate(clocks), series_key(values.tobytes(), times.tobytes()), self._fit(values)),
            history=window,
            future=future,
            name=name,
            timeframe=str(timeframe),
            calendar=said or calendar_of(index, timeframe, calendar),
        )

    def _clock(self, times: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """The clock that the network reads stamps from."""
        return times.tz_convert("UTC") if self.model.clock == "utc" and times.tz is not None else times

    def _fit(self, bars: Array) -> Normaliser:
        return fit_normaliser(self.tokenizer.normaliser, bars, self.clip)

    def _engine(self, sampler: Sampler, overflow: Overflow, seed: int) -> Engine:
        return Engine(self.model, self.backend, self.max_context, sampler, overflow, seed)

    def _continue(self, jobs: Sequence[Job], engine: Engine, paths: int, progress: Progress) -> list[Array]:
        """Normalised future bars (paths, H, 6) of every job."""
        total = sum((len(job.stamps) - len(job.bars)) * paths for job in jobs)
        with meter(progress, total) as tick:
            return [bars.cpu().numpy() for bars in engine.run(self._prompts(jobs, engine.backend), paths, tick)]

    @torch.inference_mode()
    def _prompts(self, jobs: Sequence[Job], backend: Backend) -> list[Prompt]:
        """Encode whole look-backs and keep the tokens and stamps of the last max_context bars."""
        tokens = backend.encode([torch.from_numpy(job.normaliser.apply(job.bars)) for job in jobs])
        prompts = []
        for job, (s1, s2) in zip(jobs, tokens, strict=True):
            stamps = torch.from_numpy(job.stamps[max(len(job.bars) - self.max_context, 0) :]).to(self.device)
            prompts.append(Prompt(s1[-self.max_context :], s2[-self.max_context :], stamps, job.key))
        return prompts


@dataclass(frozen=True)
class _Work:
    """A job and what is needed to make a forecast of its answer."""

    job: Job
    history: pd.DataFrame
    future: pd.DatetimeIndex
    name: str
    timeframe: str
    calendar: str

    def forecast(self, normalised: Array, meta: Mapping[str, Any]) -> Forecast:
        last_close = float(self.history["close"].iloc[-1])
        paths = self.job.normaliser.invert(normalised)
        for column in (VOLUME, AMOUNT):
            if not self.job.bars[:, column].any():
                paths[..., column] = 0.0  # what was never there is not forecast
        paths, repaired = repair(paths, floor=last_close * _LOWEST_PRICE)
        return Forecast(
            paths=paths,
            timestamps=self.future,
            last_close=last_close,
            history=self.history,
            name=self.name,
            timeframe=self.timeframe,
            repaired=repaired,
            meta={**meta, "lookback": len(self.history), "calendar": self.calendar},
        )


def _device(wanted: str | torch.device | None) -> torch.device:
    """The device asked for, if this machine has it, else the best there is."""
    if wanted is not None:
        try:
            device = torch.device(wanted)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"the device '{wanted}' cannot be used here: {reason}") from error
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
