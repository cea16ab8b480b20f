"""How good is it: forecasts against what came, beside honest baselines; and a ledger of those said in advance.

Any `Forecaster` is judged by the same code; the network is never imported. The names are fetched when they are first
used: a score of one forecast must not wait for databases and pictures.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

if TYPE_CHECKING:
    from kronos.evaluate.baselines.choosing import BASELINES, make_baseline
    from kronos.evaluate.benchmark.contestants import Contestant
    from kronos.evaluate.benchmark.report import write_report
    from kronos.evaluate.benchmark.results import Results, read_results
    from kronos.evaluate.benchmark.runner import run
    from kronos.evaluate.benchmark.task import Task, read_task
    from kronos.evaluate.ledger.choosing import Choice
    from kronos.evaluate.ledger.ledger import Ledger
    from kronos.evaluate.ledger.scoreboard import Scoreboard
    from kronos.evaluate.metrics.bootstrap import block_bootstrap
    from kronos.evaluate.metrics.comparing import diebold_mariano
    from kronos.evaluate.metrics.distribution import coverage, crps, crps_gaussian
    from kronos.evaluate.metrics.uncertainty import Figures, paired, standard_error, summary
    from kronos.evaluate.protocols.drift import DriftTask
    from kronos.evaluate.protocols.drift_run import run_drift
    from kronos.evaluate.protocols.periods import PeriodsTask
    from kronos.evaluate.protocols.periods_run import run_periods
    from kronos.evaluate.rollouts import Trials, choose_origins, score_windows
    from kronos.evaluate.scoring import FIGURES, GROUPS, score_forecast

_PLACES = {
    "BASELINES": "baselines.choosing",
    "Choice": "ledger.choosing",
    "Contestant": "benchmark.contestants",
    "DriftTask": "protocols.drift",
    "FIGURES": "scoring",
    "Figures": "metrics.uncertainty",
    "GROUPS": "scoring",
    "Ledger": "ledger.ledger",
    "PeriodsTask": "protocols.periods",
    "Results": "benchmark.results",
    "Scoreboard": "ledger.scoreboard",
    "Task": "benchmark.task",
    "Trials": "rollouts",
    "block_bootstrap": "metrics.bootstrap",
    "choose_origins": "rollouts",
    "coverage": "metrics.distribution",
    "crps": "metrics.distribution",
    "crps_gaussian": "metrics.distribution",
    "diebold_mariano": "metrics.comparing",
    "make_baseline": "baselines.choosing",
    "paired": "metrics.uncertainty",
    "read_results": "benchmark.results",
    "read_task": "benchmark.task",
    "run": "benchmark.runner",
    "run_drift": "protocols.drift_run",
    "run_periods": "protocols.periods_run",
    "score_forecast": "scoring",
    "score_windows": "rollouts",
    "standard_error": "metrics.uncertainty",
    "summary": "metrics.uncertainty",
    "write_report": "benchmark.report",
}

__all__ = [
    "BASELINES",
    "FIGURES",
    "GROUPS",
    "Choice",
    "Contestant",
    "DriftTask",
    "Figures",
    "Ledger",
    "PeriodsTask",
    "Results",
    "Scoreboard",
    "Task",
    "Trials",
    "block_bootstrap",
    "choose_origins",
    "coverage",
    "crps",
    "crps_gaussian",
    "diebold_mariano",
    "make_baseline",
    "paired",
    "read_results",
    "read_task",
    "run",
    "run_drift",
    "run_periods",
    "score_forecast",
    "score_windows",
    "standard_error",
    "summary",
    "write_report",
]


def __getattr__(name: str) -> _Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'kronos.evaluate' has no attribute '{name}'")
    value = getattr(_import_module(f"kronos.evaluate.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
