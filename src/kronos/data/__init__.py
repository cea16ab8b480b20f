"""Where bars come from and rest: files and the windows that training reads. It runs without torch."""

from kronos.data.files import bar_files, read_bars
from kronos.data.windows import Batch, Series, Windows, WindowSampler, load_series

__all__ = ["Batch", "Series", "WindowSampler", "Windows", "bar_files", "load_series", "read_bars"]
