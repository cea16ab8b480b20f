"""A calibration: what past forecasts of a model taught about its next ones, as a small file beside the weights.

It is fitted on forecasts and what came of them (`fit`), holds a table for each group of forecasts (a timeframe, a
market, a series), and moves whole paths, so that everything that is asked of a forecast follows from it. Its id is a
digest of what it says: a forecast that was calibrated names it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from kronos.bars import Forecast, infer_timeframe
from kronos.errors import BarsError, CheckpointError, ConfigError
from kronos.forecast.calibration.moving import volatility_of, with_returns
from kronos.forecast.calibration.tables import Table
from kronos.writing import replacing

CALIBRATION_FILE = "calibration.json"
"""What it is called beside weights."""

FORMAT = 1
ALL = "all"
GROUPINGS = ("timeframe", "market", "series", "all")
LEAST_SAMPLES = 20
"""Fewer paths have no intervals to speak of, and are left as they are."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Tables by group, for the forecasts of one model with one way of sampling.

    `sampler` holds T, top_k and top_p, empty for a model that knows none; `weights` is the fingerprint of the network
    whose forecasts it was fitted on, None where there is none to take. `facts` say on what it was fitted; `created`
    says when, and is no part of the id.
    """

    groups: Mapping[str, Table]
    by: str = "timeframe"
    model: str = ""
    weights: str | None = None
    sampler: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        """Name it after its content."""
        if self.by not in GROUPINGS:
            raise ConfigError(f"a calibration is by {', '.join(GROUPINGS)}, not by {self.by!r}")
        if ALL not in self.groups:
            raise CheckpointError(f"a calibration needs a table '{ALL}' for what belongs to no other group")
        text = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "id", blake2b(text.encode(), digest_size=6).hexdigest())

    def __repr__(self) -> str:
        """What it is of, in one line."""
        return f"<Calibration {self.id} of {self.model or 'a forecaster'} by {self.by}: {', '.join(self.groups)}>"

    def group_of(self, forecast: Forecast) -> str:
        """The table that a forecast belongs to: by its timeframe, or by its name; otherwise the one for all."""
        if self.by == "timeframe":
            wanted = forecast.timeframe or _timeframe(forecast)
        else:
            wanted = forecast.name.partition("/")[0] if self.by == "market" else forecast.name
        return wanted if wanted in self.groups else ALL

    def apply(self, forecast: Forecast, group: str | None = None) -> Forecast:
        """The calibrated forecast; `group` names a table where the forecast cannot know it (a market).

        `meta` then holds "calibration" (the id) and "calibration_group". One that was calibrated already is refused.
        """
        done = forecast.meta.get("calibration")
        if done:
            raise ConfigError(
                f"{forecast.name}: this forecast was calibrated already ({done}); apply a calibration to a raw one, "
                "which load(..., calibration=None) makes"
            )
        if group is not None and group not in self.groups:
            raise ConfigError(f"calibration {self.id} has no group '{group}'; it has {', '.join(self.groups)}")
        if forecast.samples < LEAST_SAMPLES:
            return skipped(forecast, f"{forecast.samples} paths are fewer than {LEAST_SAMPLES}")
        chosen = group or self.group_of(forecast)
        returns = self.groups[chosen].apply(forecast.returns(), volatility_of(forecast.history))
        return with_returns(forecast, returns, {"calibration": self.id, "calibration_group": chosen})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all."""
        target = Path(path)
        text = json.dumps(
            {"format": FORMAT, "id": self.id, "created": self.created, **self._content()}, indent=1, ensure_ascii=False
        )
        with replacing(target) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Read one that `save` wrote; damage, a newer format and an id that is not its own are refused."""
        source = Path(path)
        try:
            tree = json.loads(source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{source}: not a readable calibration ({error})") from error
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            said = tree.get("format") if isinstance(tree, dict) else None
            raise CheckpointError(f"{source}: not a calibration of format {FORMAT} (it says {said!r})")
        parts: list[Any] = [tree.get(name) for name in ("groups", "facts", "sampler")]
        if not all(isinstance(one, dict) for one in parts):
            raise CheckpointError(f"{source}: a calibration has groups, facts and sampler, each with keys and values")
        groups, facts, sampler = parts
        made = cls(
            groups={name: Table.of(one, f"{source}: group '{name}'") for name, one in groups.items()},
            by=str(tree.get("by")),
            model=str(tree.get("model", "")),
            weights=tree.get("weights"),
            sampler=sampler,
            facts=facts,
            created=str(tree.get("created", "")),
        )
        if tree.get("id") != made.id:
            raise CheckpointError(
                f"{source}: says that it is {tree.get('id')} and its content is that of {made.id}, so it was changed "
                "after it was fitted; fit it again"
            )
        return made

    def _content(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "model": self.model,
            "weights": self.weights,
            "sampler": dict(self.sampler),
            "facts": dict(self.facts),
            "groups": {name: table.tree() for name, table in self.groups.items()},
        }


def skipped(forecast: Forecast, why: str) -> Forecast:
    """The forecast as it is, saying why no calibration was applied to it."""
    return replace(forecast, meta={**forecast.meta, "calibration": None, "calibration_skipped": why})


def _timeframe(forecast: Forecast) -> str:
    """The timeframe of a forecast that does not say it, from its own times; nothing where they tell none."""
    times = forecast.timestamps
    if forecast.history is not None:
        times = forecast.history.index[-50:].append(times)  # type: ignore[assignment]
    try:
        return str(infer_timeframe(times))
    except BarsError:
        return ""
