"""Bars that never happened: generators of candles for examples, tests, pretraining and exams."""

from kronos.synth.sample import sample_bars

__all__ = ["sample_bars"]
