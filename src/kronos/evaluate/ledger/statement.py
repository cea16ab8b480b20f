"""What a forecast says, as the ledger keeps it: who said it, of what, from which bars, and the distribution itself.

Of the paths the closes are kept, as float32 log returns from the last close, and of every path the highest high and the
lowest low. CRPS, PIT, coverage, probabilities of rising and of touching, and the volatility along a path follow from
that as from the whole; opens, volumes and which bar a high belongs to are not kept. Of the look-back a digest is kept
and the closes that give the units of the scores.

The id of a statement is a digest of all it says. When it was said is no part of it: the same statement twice is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import COLUMNS, Forecast, Timeframe, infer_timeframe
from kronos.bars.candles import CLOSE, HIGH, LOW
from kronos.errors import BarsError, ConfigError
from kronos.evaluate.ledger.packing import digest_of, pack, to_json, unpack

Array = NDArray[np.float64]
Moments = NDArray[np.int64]  # nanoseconds since 1970, UTC, or of the clock the bars have

KEPT_CLOSES = 101
"""As many closes as the units of scores need: a hundred one-bar returns."""

LEAST_PAST = 3
MOST_CELLS = 50_000_000  # of paths x bars: a damaged row must not ask for all the memory there is
_LOWEST = 1e-9  # of the last close: paths that were not mended may have a low below zero
_OWN = ("model", "revision", "weights", "calibration", "cutoff", "seed", "lookback")  # of `meta`, with a column each


@dataclass(frozen=True)
class Said:
    """Who said it of what, as text; what is not known is empty."""

    symbol: str
    market: str
    timeframe: str
    model: str
    revision: str
    weights: str
    calibration: str
    cutoff: str
    clock: str
    """UTC: stamps had a time zone. Else the zone that stamps without one stand in, or nothing, where nobody said."""
    settings: str
    """What else the forecast says of how it was made, as JSON."""


@dataclass(frozen=True, eq=False)
class Statement:
    """One forecast as the ledger keeps it."""

    said: Said
    seed: int | None
    lookback: int
    """How many bars were read."""
    began: int
    """The time of the first of them."""
    data: str
    """The digest of them."""
    last_close: float
    times: Moments  # (H,) of the bars to come
    past_times: Moments  # (N,), the last of them the origin
    past_closes: Array  # (N,)
    moves: NDArray[np.float32]  # (S, H)
    extremes: NDArray[np.float32]  # (S, 2): the highest high, the lowest low

    @classmethod
    def of(
        cls,
        forecast: Forecast,
        *,
        symbol: str,
        market: str = "",
        model: str | None = None,
        revision: str | None = None,
        weights: str | None = None,
        calibration: str | None = None,
        zone: str | None = None,
    ) -> "Statement":
        """From a forecast with its history; what is not given is read from its `meta`."""
        if forecast.history is None or len(forecast.history) < LEAST_PAST:
            raise BarsError(f"{forecast.name}: a forecast is kept with the bars it was made from, and this has none")
        own = dict(forecast.meta)
        given = {"model": model, "revision": revision, "weights": weights, "calibration": calibration}
        texts = {name: _text(name, own.get(name) if value is None else value) for name, value in given.items()}
        if not texts["model"]:
            raise ConfigError(f"{forecast.name}: which model made this forecast? It does not say; pass model=")
        past = pd.DatetimeIndex(forecast.history.index)
        timeframe = Timeframe.parse(forecast.timeframe) if forecast.timeframe else infer_timeframe(past)
        candles = forecast.history[list(COLUMNS)].to_numpy(dtype=np.float64)
        said = Said(
            symbol=_needed("symbol", symbol),
            market=_text("market", market),
            timeframe=str(timeframe),
            cutoff=_text("cutoff", own.get("cutoff")),
            clock="UTC" if past.tz is not None else _zone(zone),
            settings=to_json({key: value for key, value in own.items() if key not in _OWN}),
            **texts,
        )
        return cls(
            said=said,
            seed=_seed(own.get("seed")),
            lookback=len(past),
            began=int(moments(past)[0]),
            data=digest_of(moments(past), candles),
            last_close=forecast.last_close,
            times=moments(forecast.timestamps),
            past_times=moments(past)[-KEPT_CLOSES:],
            past_closes=candles[-KEPT_CLOSES:, CLOSE].copy(),
            moves=forecast.returns().astype(np.float32),
            extremes=_extremes(forecast),
        )

    @property
    def id(self) -> str:
        """The digest of all it says."""
        return to_id(self._facts())

    @property
    def origin(self) -> int:
        """The time of the last bar known."""
        return int(self.past_times[-1])

    def row(self) -> dict[str, Any]:
        """The columns of the ledger that say it."""
        return {
            **self._facts(),
            "times": pack(np.diff(self.times, prepend=self.origin)),  # of equal steps nothing is left
            "past_times": pack(np.diff(self.past_times, prepend=self.began)),
            "past_closes": pack(self.past_closes),
            "moves": pack(self.moves),
            "extremes": pack(self.extremes),
        }

    def _facts(self) -> dict[str, Any]:
        return {
            **vars(self.said),
            "seed": self.seed,
            "samples": len(self.moves),
            "horizon": len(self.times),
            "lookback": self.lookback,
            "began": self.began,
            "origin": self.origin,
            "first": int(self.times[0]),
            "last": int(self.times[-1]),
            "kept": len(self.past_closes),
            "last_close": self.last_close,
            "data": self.data,
            "content": digest_of(self.times, self.past_times, self.past_closes, self.moves, self.extremes),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Statement":
        """Back from the columns."""
        samples, horizon, kept = int(row["samples"]), int(row["horizon"]), int(row["kept"])
        if not 0 < samples * horizon <= MOST_CELLS or not 0 < kept <= MOST_CELLS:
            raise BarsError(f"a row of the ledger is damaged: {samples} paths of {horizon} bars after {kept}")
        past_times = unpack(row["past_times"], "i8", (kept,)).cumsum() + int(row["began"])
        return cls(
            said=Said(**{name: row[name] for name in Said.__dataclass_fields__}),
            seed=row["seed"],
            lookback=int(row["lookback"]),
            began=int(row["began"]),
            data=row["data"],
            last_close=float(row["last_close"]),
            times=unpack(row["times"], "i8", (horizon,)).cumsum() + int(row["origin"]),
            past_times=past_times,
            past_closes=unpack(row["past_closes"], "f8", (kept,)),
            moves=unpack(row["moves"], "f4", (samples, horizon)),
            extremes=unpack(row["extremes"], "f4", (samples, 2)),
        )

    def forecast(self) -> Forecast:
        """The forecast again, as far as it is kept: bodies go from close to close, and a path's extremes are at its
        highest and lowest close."""
        closes = np.exp(self.moves.astype(np.float64)) * self.last_close  # (S, H)
        paths = _from_closes(closes, np.full((len(closes), 1), self.last_close))
        reach = np.exp(self.extremes.astype(np.float64)) * self.last_close  # (S, 2)
        each, top, bottom = np.arange(len(closes)), closes.argmax(axis=1), closes.argmin(axis=1)
        paths[each, top, HIGH] = np.maximum(reach[:, 0], paths[each, top, HIGH])
        paths[each, bottom, LOW] = np.minimum(reach[:, 1], paths[each, bottom, LOW])
        return Forecast(
            paths=paths,
            timestamps=self.index(self.times),
            last_close=self.last_close,
            history=pd.DataFrame(self.past(), index=self.index(self.past_times), columns=list(COLUMNS)),
            name=self.said.symbol,
            timeframe=self.said.timeframe,
            meta={"model": self.said.model, "seed": self.seed, "calibration": self.said.calibration or None},
        )

    def past(self) -> Array:
        """The last bars of the look-back (N, 6), of which only the closes are kept."""
        return _from_closes(self.past_closes, self.past_closes[:1])

    def index(self, times: Moments) -> pd.DatetimeIndex:
        """Times as the bars have them, with a zone or without."""
        return from_moments(times, aware=self.said.clock == "UTC")


def to_id(row: Mapping[str, Any]) -> str:
    """The id of what a row says: of its columns, with the arrays by what they hold."""
    return digest_of(np.frombuffer(to_json({name: row[name] for name in _IDENTITY}).encode(), dtype=np.uint8))


_IDENTITY = (
    *Said.__dataclass_fields__,
    *("seed", "samples", "horizon", "lookback", "began", "origin", "last_close", "data", "content"),
)


def moments(times: pd.DatetimeIndex) -> Moments:
    """Nanoseconds since 1970: UTC where the times have a zone, else as they stand."""
    plain = times.tz_convert("UTC").tz_localize(None) if times.tz is not None else times
    return np.asarray(plain.as_unit("ns").asi8, dtype=np.int64)


def from_moments(times: Moments, *, aware: bool = False) -> pd.DatetimeIndex:
    """The index back."""
    index = pd.DatetimeIndex(times.astype("datetime64[ns]"), name="timestamp")
    return index.tz_localize("UTC") if aware else index


def bar_ends(moment: int, timeframe: str, clock: str) -> pd.Timestamp:
    """When a bar with this stamp is over at the latest, in UTC: stamps that mean ends are over when they say.

    Where nobody said which zone stamps without one stand in, they are taken as UTC.
    """
    stamp = pd.DatetimeIndex([pd.Timestamp(moment, unit="ns")])
    zone = ZoneInfo(clock or "UTC")
    local = stamp.tz_localize(zone, ambiguous=np.zeros(1, dtype=bool), nonexistent="shift_forward")
    return (local + Timeframe.parse(timeframe).offset).tz_convert("UTC")[0]


def _from_closes(closes: Array, before: Array) -> Array:
    """Candles (..., H, 6) without wicks, each of which opens where the last one closed, the first at `before`."""
    opens = np.concatenate([before, closes[..., :-1]], axis=-1)
    flat = np.zeros(closes.shape)
    return np.stack([opens, np.maximum(opens, closes), np.minimum(opens, closes), closes, flat, flat], axis=-1)


def _extremes(forecast: Forecast) -> NDArray[np.float32]:
    reach = np.stack([forecast.paths[..., HIGH].max(axis=1), forecast.paths[..., LOW].min(axis=1)], axis=1)
    return np.log(np.maximum(reach / forecast.last_close, _LOWEST)).astype(np.float32)


def _needed(what: str, value: str) -> str:
    text = _text(what, value)
    if not text:
        raise ConfigError(f"a forecast in the ledger needs a {what}")
    return text


def _text(what: str, value: Any) -> str:
    text = "" if value is None else str(value).strip()
    if not text.isprintable():
        raise ConfigError(f"{what} {text!r}: printable text is needed")
    return text


def _seed(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ConfigError(f"seed {value!r}: a whole number of 64 bits is needed")
    return value


def _zone(zone: str | None) -> str:
    if not zone:
        return ""
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"zone {zone!r} is not known; name one such as UTC or Asia/Shanghai") from error
    # "UTC" says that the stamps had a zone of their own; read as they stand they are the same
    return zone if zone != "UTC" else "Etc/UTC"
