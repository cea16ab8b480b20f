"""Several forecasters as one: the sample paths are shared out among them and pooled.

The pool is the equal mixture of the members' distributions. On disk an ensemble is a folder with `ensemble.json`:

    {"members": ["member-1", "member-2"], "name": "three seeds"}

`members` are folders below it in the order of their paths, each of a kind that `kronos.load` reads: a pair, a predictor
whose tokenizer lies beside it (so that members may share one), another ensemble. `name` may be left out. Other keys are
somebody else's. A folder with this file is an ensemble, whatever else lies in it. A `calibration.json` beside it is
that of the pool; members that `kronos.load` reads for it are not calibrated.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
import pandas as pd

from kronos.bars import Forecast, Forecaster
from kronos.bars.asking import check_asked
from kronos.bars.forecast import Times
from kronos.errors import CheckpointError, ConfigError
from kronos.forecast.calibration import Calibration, Sampling
from kronos.forecast.forecaster import Options
from kronos.forecast.progress import Progress, meter
from kronos.model import ZOO
from kronos.model.checkpoint import read_config

ENSEMBLE_FILE = "ensemble.json"


class Ensemble:
    """Forecasters whose paths are pooled, each with random numbers of its own.

    Paths are shared out as evenly as can be: the first members write one more where they cannot be equal, and with
    fewer paths than members only the first ones are asked. One member alone forecasts as it does without us.
    """

    def __init__(
        self, members: Sequence[Forecaster], name: str | None = None, *, calibration: Calibration | None = None
    ) -> None:
        """Pool these; the name is otherwise made of theirs ("a + b", "a x 3"). `calibration` is that of the pool."""
        if not members:
            raise ConfigError("an ensemble has at least one member")
        self.members = tuple(members)
        self.calibration = calibration
        counts = Counter(member.name for member in self.members)
        self._name = name or " + ".join(one if count == 1 else f"{one} x {count}" for one, count in counts.items())

    @property
    def name(self) -> str:
        """What tables and ledgers call it."""
        return self._name

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
        seed: int = 0,
        y_timestamp: Any = None,
        progress: Progress = False,
        **options: Any,
    ) -> Forecast | list[Forecast] | dict[str, Forecast]:
        """The pooled distribution of the next `horizon` bars, as `samples` paths: the first member's, the second's, ...

        `options` (T, top_k, top_p, lookback, ...) go to every member as they are. `meta` holds what all members agree
        on, and under "members" what each one says of itself with how many of the paths it wrote. A calibration of the
        pool works as that of a single model does.
        """
        check_asked(horizon, samples, seed)
        sampling = Sampling.of(self.calibration, *(options.get(one) for one in ("T", "top_k", "top_p")))
        if self.calibration is not None and self.calibration.sampler:
            options |= {"T": sampling.T, "top_k": sampling.top_k, "top_p": sampling.top_p}
        shares = [samples // len(self.members) + (k < samples % len(self.members)) for k in range(len(self.members))]
        series = len(data) if isinstance(data, Sequence | Mapping) else 1  # what is neither is refused by the members
        made: list[Any] = []
        with meter(progress, series * horizon * samples) as tick:
            for number, (member, share) in enumerate(zip(self.members, shares, strict=True)):
                if share:
                    seen = {} if progress is False else {"progress": _counting(tick)}
                    given = {"samples": share, "seed": member_seed(int(seed), number), "y_timestamp": y_timestamp}
                    ask: Callable[..., Any] = member.forecast  # options beyond the protocol's are the caller's choice
                    made.append(ask(data, horizon, **given, **seen, **options))
        if isinstance(data, pd.DataFrame):
            return sampling.finish(self._pool(made, int(seed)))
        if isinstance(data, Mapping):
            return {key: sampling.finish(self._pool([one[key] for one in made], int(seed))) for key in data}
        return [sampling.finish(self._pool(parts, int(seed))) for parts in zip(*made, strict=True)]

    def _pool(self, parts: Sequence[Forecast], seed: int) -> Forecast:
        """One forecast of the members' forecasts of one series."""
        first = parts[0]
        for part in parts[1:]:
            if not part.timestamps.equals(first.timestamps) or part.last_close != first.last_close:
                raise ConfigError(
                    f"{first.name}: the members of {self.name} speak of different bars (from {first.timestamps[0]} "
                    f"and from {part.timestamps[0]}, after closes of {first.last_close} and {part.last_close}); "
                    "y_timestamp= says which are meant"
                )
        metas = [dict(part.meta) for part in parts]
        if self.calibration is not None and any(one.get("calibration") for one in metas):
            raise ConfigError(
                f"{self.name}: the pool has a calibration and so has a member; load members with calibration=None"
            )
        agreed = {key: value for key, value in metas[0].items() if all(m.get(key) == value for m in metas[1:])}
        seen = max((part.history for part in parts if part.history is not None), key=len, default=None)
        meta = {**agreed, "model": self.name, "cutoff": _latest([m.get("cutoff") for m in metas]), "seed": seed}
        if seen is not None:
            meta["lookback"] = len(seen)  # of the member that read most
        members = [{"samples": part.samples, **one} for part, one in zip(parts, metas, strict=True)]
        return Forecast(
            paths=np.concatenate([part.paths for part in parts]),
            timestamps=first.timestamps,
            last_close=first.last_close,
            history=seen,
            name=first.name,
            timeframe=first.timeframe,
            repaired=sum(part.repaired for part in parts),
            meta={**meta, "members": members},
        )


@dataclass(frozen=True)
class EnsembleFolder:
    """What an `ensemble.json` says: folders in order, and the name where one is given."""

    members: tuple[Path, ...]
    name: str | None


def read_ensemble(name: str | Path) -> EnsembleFolder | None:
    """The ensemble that a model's name means, None where it means something else; damage is a `CheckpointError`."""
    entry = ZOO.get(str(name))
    folder = entry.folder if entry is not None else Path(name)
    file = folder / ENSEMBLE_FILE
    if not file.is_file():
        return None
    content = read_config(file)
    names, title = content.get("members"), content.get("name")
    if not isinstance(names, list) or not names or not all(isinstance(one, str) and one for one in names):
        raise CheckpointError(f'{file}: "members" must list the folders of at least one member')
    if title is not None and not (isinstance(title, str) and title):
        raise CheckpointError(f'{file}: "name" must be a text, not {title!r}')
    members = tuple(_member(file, one) for one in names)
    if len({place.resolve() for place in members}) < len(members):
        raise CheckpointError(f"{file}: a member is named twice; it would count as two that agree")
    return EnsembleFolder(members, title)


def member_seed(seed: int, number: int) -> int:
    """The seed of a member: the first one's is the ensemble's own, the others' have nothing to do with it.

    seed + number would not do: the ensembles of two seeds would then share most of their random numbers.
    """
    if number == 0:
        return seed
    return int.from_bytes(blake2b(f"{seed}/{number}".encode(), digest_size=7).digest(), "little")


def _member(file: Path, name: str) -> Path:
    """The folder of a member, which lies below the file's own: nobody's file makes us read elsewhere."""
    place = file.parent / name
    try:
        root, end = file.parent.resolve(), place.resolve()
        there = place.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, with a zero in it, a ring of links
        raise CheckpointError(f"{file}: the member {name!r} is no folder's name ({error})") from error
    if root not in end.parents:
        raise CheckpointError(f"{file}: the member '{name}' does not lie below this folder; move it there")
    if not there:
        raise CheckpointError(f"{file}: the member '{name}' is missing: there is no folder {place}")
    return place


def _counting(tick: Callable[[int], None]) -> Callable[[int, int], None]:
    """A member's progress, passed on to the meter of all: it counts from 0, the meter wants what is new."""
    done = 0

    def advance(now: int, total: int) -> None:
        nonlocal done
        tick(now - done)
        done = now

    return advance


def _latest(cutoffs: Sequence[Any]) -> str | None:
    """The last day that any member was trained on; unknown where one of them does not say."""
    return max(map(str, cutoffs)) if all(cutoffs) else None
