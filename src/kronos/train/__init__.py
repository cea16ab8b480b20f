"""Fitting: one loop, several objectives, from one processor to many GPUs."""

from kronos.train.compare import Comparison, Figures, Judge
from kronos.train.finetune import Outcome, finetune
from kronos.train.finetune_settings import FinetuneSettings
from kronos.train.loop import Fitted, Stage, fit
from kronos.train.objectives import Objective, PredictorObjective, TokenizerObjective
from kronos.train.plot import draw_run
from kronos.train.pretrain import pretrain
from kronos.train.pretrain_settings import PretrainSettings
from kronos.train.ranks import Ranks, joined
from kronos.train.reporting import Progress, Reporter
from kronos.train.settings import LoopSettings
from kronos.train.tuning import Tuning

__all__ = [
    "Comparison",
    "Figures",
    "FinetuneSettings",
    "Fitted",
    "Judge",
    "LoopSettings",
    "Objective",
    "Outcome",
    "PredictorObjective",
    "PretrainSettings",
    "Progress",
    "Ranks",
    "Reporter",
    "Stage",
    "TokenizerObjective",
    "Tuning",
    "draw_run",
    "finetune",
    "fit",
    "joined",
    "pretrain",
]
