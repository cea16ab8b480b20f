"""With which settings to sample, where a calibration was fitted with some: a calibration holds for its own alone."""

from dataclasses import dataclass
from typing import Any

from kronos.bars import Forecast
from kronos.forecast.calibration.calibration import Calibration, skipped

PLAIN = {"T": 1.0, "top_k": 0, "top_p": 1.0}
"""What is sampled with where nobody says otherwise: the network's own distribution."""


@dataclass(frozen=True)
class Sampling:
    """The settings in force, and what becomes of the forecasts made with them."""

    T: float
    top_k: int
    top_p: float
    calibration: Calibration | None
    why_not: str = ""

    @classmethod
    def of(cls, calibration: Calibration | None, T: float | None, top_k: int | None, top_p: float | None) -> "Sampling":
        """What the caller asks for; what is None is the calibration's, or else plain."""
        fitted = PLAIN | {} if calibration is None else PLAIN | dict(calibration.sampler)
        asked = {"T": T, "top_k": top_k, "top_p": top_p}
        used: dict[str, Any] = {name: fitted[name] if value is None else value for name, value in asked.items()}
        other = [f"{name}={used[name]:g}" for name in used if used[name] != fitted[name]]
        why = ""
        if calibration is not None and other:
            was = ", ".join(f"{name}={value:g}" for name, value in fitted.items())
            why = f"calibration {calibration.id} was fitted with {was}; this forecast has {', '.join(other)}"
        return cls(used["T"], used["top_k"], used["top_p"], calibration, why)

    def finish(self, forecast: Forecast) -> Forecast:
        """The forecast, calibrated; or saying why it is not."""
        if self.calibration is None:
            return forecast
        return skipped(forecast, self.why_not) if self.why_not else self.calibration.apply(forecast)
