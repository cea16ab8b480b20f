"""Where bars come from and rest: sources, files, the lake, and the windows that training reads. Runs without torch.

The names are fetched when they are first used: a forecast of one file must not wait for exchanges and pickles.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

if TYPE_CHECKING:
    from kronos.data.files.naming import Named, name_of
    from kronos.data.files.reading import Found, bar_files, read_bars, read_loose
    from kronos.data.handing import export, export_pickles, export_split, resample_series, timelines
    from kronos.data.importing import Imported, ImportOptions, Refused, Skipped, import_bars
    from kronos.data.keys import Key
    from kronos.data.lake.commits import Origin
    from kronos.data.lake.lake import Entry, Lake, Written
    from kronos.data.pickles.check import Validation, validate
    from kronos.data.pickles.pickles import read_pickle, write_pickles
    from kronos.data.qlib import QlibFolder, read_qlib, write_qlib
    from kronos.data.quality.pictures import plot_inspection, plot_report
    from kronos.data.quality.report import Report
    from kronos.data.quality.tending import CleanedSeries, check_files, check_lake, clean_lake, draw_report
    from kronos.data.sets.augment import Augmentation
    from kronos.data.sets.epochs import Epoch
    from kronos.data.sets.loading import load_series
    from kronos.data.sets.pack import is_pack, open_pack, pack
    from kronos.data.sets.series import Series, Timeline
    from kronos.data.sets.splits import Split, split_by_dates, split_by_ratio, walk_forward
    from kronos.data.sets.windows import Batch, Windows, WindowSampler
    from kronos.data.sources.archive import read_archive
    from kronos.data.sources.binance import Binance
    from kronos.data.sources.choosing import SOURCES, known_source, make_source
    from kronos.data.sources.credentials import Credentials
    from kronos.data.sources.fetching import Failed, Fetched, fetch, update
    from kronos.data.sources.okx import Okx
    from kronos.data.sources.source import Page, Source

_PLACES = {
    "Augmentation": "sets.augment",
    "Batch": "sets.windows",
    "Binance": "sources.binance",
    "CleanedSeries": "quality.tending",
    "Credentials": "sources.credentials",
    "Entry": "lake.lake",
    "Epoch": "sets.epochs",
    "Failed": "sources.fetching",
    "Fetched": "sources.fetching",
    "Found": "files.reading",
    "ImportOptions": "importing",
    "Imported": "importing",
    "Key": "keys",
    "Lake": "lake.lake",
    "Named": "files.naming",
    "Okx": "sources.okx",
    "Origin": "lake.commits",
    "Page": "sources.source",
    "QlibFolder": "qlib",
    "Refused": "importing",
    "Report": "quality.report",
    "SOURCES": "sources.choosing",
    "Series": "sets.series",
    "Skipped": "importing",
    "Source": "sources.source",
    "Split": "sets.splits",
    "Timeline": "sets.series",
    "Validation": "pickles.check",
    "WindowSampler": "sets.windows",
    "Windows": "sets.windows",
    "Written": "lake.lake",
    "bar_files": "files.reading",
    "check_files": "quality.tending",
    "check_lake": "quality.tending",
    "clean_lake": "quality.tending",
    "draw_report": "quality.tending",
    "export": "handing",
    "export_pickles": "handing",
    "export_split": "handing",
    "fetch": "sources.fetching",
    "import_bars": "importing",
    "is_pack": "sets.pack",
    "known_source": "sources.choosing",
    "load_series": "sets.loading",
    "make_source": "sources.choosing",
    "name_of": "files.naming",
    "open_pack": "sets.pack",
    "pack": "sets.pack",
    "plot_inspection": "quality.pictures",
    "plot_report": "quality.pictures",
    "read_archive": "sources.archive",
    "read_bars": "files.reading",
    "read_loose": "files.reading",
    "read_pickle": "pickles.pickles",
    "read_qlib": "qlib",
    "resample_series": "handing",
    "split_by_dates": "sets.splits",
    "split_by_ratio": "sets.splits",
    "timelines": "handing",
    "update": "sources.fetching",
    "validate": "pickles.check",
    "walk_forward": "sets.splits",
    "write_pickles": "pickles.pickles",
    "write_qlib": "qlib",
}

__all__ = [
    "SOURCES",
    "Augmentation",
    "Batch",
    "Binance",
    "CleanedSeries",
    "Credentials",
    "Entry",
    "Epoch",
    "Failed",
    "Fetched",
    "Found",
    "ImportOptions",
    "Imported",
    "Key",
    "Lake",
    "Named",
    "Okx",
    "Origin",
    "Page",
    "QlibFolder",
    "Refused",
    "Report",
    "Series",
    "Skipped",
    "Source",
    "Split",
    "Timeline",
    "Validation",
    "WindowSampler",
    "Windows",
    "Written",
    "bar_files",
    "check_files",
    "check_lake",
    "clean_lake",
    "draw_report",
    "export",
    "export_pickles",
    "export_split",
    "fetch",
    "import_bars",
    "is_pack",
    "known_source",
    "load_series",
    "make_source",
    "name_of",
    "open_pack",
    "pack",
    "plot_inspection",
    "plot_report",
    "read_archive",
    "read_bars",
    "read_loose",
    "read_pickle",
    "read_qlib",
    "resample_series",
    "split_by_dates",
    "split_by_ratio",
    "timelines",
    "update",
    "validate",
    "walk_forward",
    "write_pickles",
    "write_qlib",
]


def __getattr__(name: str) -> _Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'kronos.data' has no attribute '{name}'")
    value = getattr(_import_module(f"kronos.data.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
