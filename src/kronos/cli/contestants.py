"""What a name on the command line stands for: a baseline, or a model that `kronos.load` knows."""

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kronos.bars import Forecaster
    from kronos.evaluate.benchmark.contestants import Contestant

_LABEL = re.compile(r"[^=/\\:]+")


def is_baseline(name: str) -> bool:
    """Whether it is one of ours, or a rival behind a prefix, and no network of this family."""
    from kronos.evaluate.baselines.choosing import BASELINES

    return name in BASELINES or name.startswith("chronos:")


def find_forecaster(name: str, **options: Any) -> "Forecaster":
    """The forecaster of this name; `options` go to `kronos.load` (device, backend, calibration, ...)."""
    if is_baseline(name):
        from kronos.evaluate.baselines.choosing import make_baseline

        return make_baseline(name)
    from kronos.forecast import load

    return load(name, **options)


def labelled(name: str) -> tuple[str, str]:
    """What tables call it, and what it is: `tuned=runs/1` is runs/1 under a name of its own."""
    label, equals, place = name.partition("=")
    return (label, place) if equals and place and _LABEL.fullmatch(label) else (name, name)


def find_contestant(name: str, samples: int, options: Mapping[str, Any]) -> "Contestant":
    """Who is judged under this name; `options` are for networks, `samples` the paths of their forecasts.

    Baselines of ours need one thread and so share a pool of processes; what has weights gets the whole machine.
    """
    from kronos.evaluate.benchmark.contestants import Contestant

    label, place = labelled(name)
    if not is_baseline(place):
        said = {key: value if isinstance(value, str | bool | None) else str(value) for key, value in options.items()}
        record: dict[str, Any] = {"place": place, **said, "baseline": False}
        return Contestant(label, partial(find_forecaster, place, **options), options=record)
    rival = place.startswith("chronos:")
    record = {"place": place, "baseline": True, **({"samples": samples} if rival else {})}
    return Contestant(label, partial(find_forecaster, place), parallel=not rival, options=record)
