"""Fitting: one loop, several objectives."""

from kronos.train.loop import LoopSettings, fit
from kronos.train.objectives import Objective, PredictorObjective, TokenizerObjective
from kronos.train.pretrain import PretrainSettings, pretrain

__all__ = [
    "LoopSettings",
    "Objective",
    "PredictorObjective",
    "PretrainSettings",
    "TokenizerObjective",
    "fit",
    "pretrain",
]
