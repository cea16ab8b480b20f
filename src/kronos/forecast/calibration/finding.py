"""Which calibration a model is loaded with: its own, one that is named, or none."""

import warnings
from pathlib import Path
from typing import Any, TypeAlias

from kronos.errors import ConfigError, KronosWarning
from kronos.forecast.calibration.calibration import CALIBRATION_FILE, Calibration
from kronos.model import ZOO, Kronos
from kronos.model.checkpoint import AbsentError, hub_fetcher

OWN = "own"
Wanted: TypeAlias = "str | Path | Calibration | None"
"""How a caller says which: "own", a file, the object, None."""

_PARTS = ("predictor", "basemodel")  # folders of one network, beside which that of the pair lies


def find_calibration(
    wanted: Wanted, name: str | Path, network: Kronos | None = None, *, revision: str | None = None, **options: Any
) -> Calibration | None:
    """The calibration for a model of this name; `options` go to the Hub.

    Its own one that was fitted on other weights is left out with a warning, as happens when weights are trained again
    in place; one that is named is used with a warning.
    """
    if wanted is None or isinstance(wanted, Calibration):
        found = wanted
    elif wanted == OWN:
        file = _own_file(name, revision, options)
        found = None if file is None else Calibration.load(file)
    else:
        place = Path(wanted)
        if place.is_dir():
            place = place / CALIBRATION_FILE
        if not place.is_file():
            raise ConfigError(f"calibration {str(wanted)!r}: no such file; give one, 'own', or None for none")
        found = Calibration.load(place)
    if found is None or found.weights is None or network is None or found.weights == network.fingerprint():
        return found
    left_out = wanted == OWN
    warnings.warn(
        f"calibration {found.id} was fitted on other weights than those of {name}"
        + ("; forecasts are not calibrated until `kronos evaluate calibrate` has made a new one" if left_out else ""),
        KronosWarning,
        stacklevel=3,
    )
    return None if left_out else found


def _own_file(name: str | Path, revision: str | None, options: dict[str, Any]) -> Path | None:
    """The calibration.json that lies beside a model's weights."""
    entry = ZOO.get(str(name))
    if entry is not None and entry.network_config:
        return None  # published weights come without one, and nobody waits for the Hub to say so
    place = Path(name) if entry is None else entry.folder
    if place.exists():
        folder = place if place.is_dir() else place.parent
        folders = [folder, folder.absolute().parent] if folder.name in _PARTS else [folder]
        return next((one / CALIBRATION_FILE for one in folders if (one / CALIBRATION_FILE).is_file()), None)
    asked = {key: value for key, value in options.items() if key != "subfolder"}
    try:
        return hub_fetcher(str(name), revision=revision, **asked)(CALIBRATION_FILE)
    except AbsentError:
        return None
