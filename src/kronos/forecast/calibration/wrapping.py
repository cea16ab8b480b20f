"""Any forecaster with a calibration: GARCH as well as a network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import pandas as pd

from kronos.bars import Forecast, Forecaster
from kronos.bars.forecast import Times
from kronos.forecast.calibration.calibration import Calibration
from kronos.forecast.calibration.sampling import Sampling

_SAMPLER = ("T", "top_k", "top_p")


class Calibrated:
    """A forecaster whose forecasts are calibrated.

    Models that `kronos.load` makes take a calibration themselves; this is for all others. A forecaster that calibrates
    already is refused when it first speaks.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        calibration: Calibration,
        *,
        group: str | None = None,
        name: str | None = None,
    ) -> None:
        """Calibrate what it says; `group` names the table, where its forecasts cannot know theirs."""
        self.forecaster, self.calibration, self.group = forecaster, calibration, group
        self._name = name or f"{forecaster.name} calibrated"

    @property
    def name(self) -> str:
        """What tables and ledgers call it."""
        return self._name

    @overload
    def forecast(
        self, data: pd.DataFrame, horizon: int, *, y_timestamp: "Times | None" = None, **options: Any
    ) -> Forecast: ...

    @overload
    def forecast(
        self,
        data: Sequence[pd.DataFrame],
        horizon: int,
        *,
        y_timestamp: "Sequence[Times] | None" = None,
        **options: Any,
    ) -> list[Forecast]: ...

    @overload
    def forecast(
        self,
        data: Mapping[str, pd.DataFrame],
        horizon: int,
        *,
        y_timestamp: "Mapping[str, Times] | None" = None,
        **options: Any,
    ) -> dict[str, Forecast]: ...

    def forecast(
        self,
        data: pd.DataFrame | Sequence[pd.DataFrame] | Mapping[str, pd.DataFrame],
        horizon: int,
        *,
        y_timestamp: Any = None,
        **options: Any,
    ) -> Forecast | list[Forecast] | dict[str, Forecast]:
        """What the forecaster says, calibrated; `options` (samples, seed, ...) are the forecaster's."""
        given = {name: options.get(name) for name in _SAMPLER}
        sampling = Sampling.of(self.calibration, given["T"], given["top_k"], given["top_p"])
        if self.calibration.sampler:
            options |= {name: getattr(sampling, name) for name in _SAMPLER}
        ask: Callable[..., Any] = self.forecaster.forecast  # options beyond the protocol's are the caller's choice
        made = ask(data, horizon, y_timestamp=y_timestamp, **options)
        if isinstance(data, pd.DataFrame):
            return self._finish(made, sampling)
        if isinstance(data, Mapping):
            return {key: self._finish(made[key], sampling) for key in data}
        return [self._finish(one, sampling) for one in made]

    def _finish(self, forecast: Forecast, sampling: Sampling) -> Forecast:
        if self.group is None or sampling.why_not:
            return sampling.finish(forecast)
        return self.calibration.apply(forecast, self.group)
