"""Does Qlib itself read from our folders what we wrote, and do we read what Qlib reads?

    pip install pyqlib            (in an environment of its own; it brings more than a gigabyte)
    python benchmarks/qlib_parity.py --symbols 40 --days 1500

Writes an invented market (listings, suspensions, splits, two frequencies, names that Windows reserves, an index list
with several spans), appends to a part of it, and compares calendars, instrument lists and features slot by slot with
those that pyqlib shows. Then pyqlib's own storage writes the same features into a folder that we read, and files are
compared byte by byte; `--dump-bin scripts/dump_bin.py` (a file of Qlib's repository that its wheel lacks) has that
script dump them too. Ends with 1 where something differs.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kronos.data.qlib import QlibFolder, qlib_code, write_qlib
from kronos.data.qlib.encode import FIELDS
from kronos.data.qlib.names import folder_of

ODD = ("BTC/USDT", "con", "^GSPC", "BRK-B", "sh.600000", "000001.SZ", "NA")
EXPRESSIONS = [*(f"${field}" for field in FIELDS), "$close/$factor", "$volume*$factor", "Ref($close, 1)"]
Market = Mapping[str, pd.DataFrame]


def market(symbols: int, calendar: pd.DatetimeIndex, seed: int) -> dict[str, pd.DataFrame]:
    """Original prices with a column factor: late listings, early ends, suspensions, splits."""
    random, found = np.random.default_rng(seed), {}
    for number in range(symbols):
        name = ODD[number] if number < len(ODD) else f"SZ{300000 + number}"
        first, stop = sorted(random.choice(len(calendar) + 1, 2, replace=False))
        first, stop = (0, len(calendar)) if number < 3 or stop - first < 50 else (int(first), int(stop))
        times = calendar[first:stop]
        times = times[random.random(len(times)) > (0.0 if number == 0 else 0.05)]
        rows = len(times)
        close = random.lognormal(3, 1) * np.exp(random.normal(0, 0.02, rows).cumsum())
        open_ = close * np.exp(random.normal(0, 0.01, rows))
        splits = np.where(random.random(rows) < 0.004, random.choice([1.1, 1.5, 2.0], rows), 1.0).cumprod()
        volume = np.where(random.random(rows) < 0.01, 0.0, random.lognormal(14, 1, rows))
        found[name] = pd.DataFrame(
            {
                "open": open_ / splits, "high": np.maximum(open_, close) * 1.01 / splits,
                "low": np.minimum(open_, close) * 0.99 / splits, "close": close / splits,
                "volume": volume, "amount": volume * close / splits, "factor": splits,
            },
            index=times,
        )  # fmt: skip
    return found


def differences(shown: pd.Series, ours: pd.Series) -> tuple[float, float, int]:
    """The largest absolute and relative difference, and how many slots only one of the two has."""
    both = pd.concat([shown, ours], axis=1, keys=["shown", "ours"]).astype(np.float64)
    lone = int((both["shown"].isna() != both["ours"].isna()).sum())
    gap = (both["shown"] - both["ours"]).abs()
    return float(gap.max()), float((gap / both["ours"].abs().clip(lower=1e-30)).max()), lone


def compare(folder: QlibFolder, frequency: str, names: Mapping[str, str], D: Any) -> bool:
    """Print how pyqlib's view of one frequency differs from ours; True where it does not."""
    same = True
    theirs = pd.DatetimeIndex(D.calendar(freq=frequency))
    equal = theirs.equals(folder.calendar(frequency))
    same &= equal
    print(f"{frequency}: calendar of {len(theirs)} slots {'equal' if equal else 'DIFFERENT'}")
    for listed in folder.lists:
        spans = D.list_instruments(D.instruments(listed), freq=frequency, as_list=False)
        ours = {qlib_code(symbol): some for symbol, some in folder.instruments(listed).items()}
        low, high = theirs[0], theirs[-1]
        cut = {code: [(max(a, low), min(b, high)) for a, b in some] for code, some in ours.items()}
        cut = {code: [(a, b) for a, b in some if a <= b] for code, some in cut.items()}
        equal = spans == {code: some for code, some in cut.items() if some}
        same &= equal
        print(f"{frequency}: list {listed} of {len(spans)} symbols {'equal' if equal else 'DIFFERENT'}")
    shown = D.features(list(names), EXPRESSIONS, freq=frequency)
    print(f"{frequency}: {len(shown)} rows of {len(names)} symbols")
    raw = {code: folder.raw(symbol, FIELDS, frequency) for code, symbol in names.items()}
    for expression in EXPRESSIONS:
        found = []
        for code, frame in raw.items():
            ours = frame.rename(columns=lambda name: f"${name}")
            values = {
                "$close/$factor": lambda f=ours: f["$close"] / f["$factor"],
                "$volume*$factor": lambda f=ours: f["$volume"] * f["$factor"],
                "Ref($close, 1)": lambda f=ours: f["$close"].shift(1),
            }.get(expression, lambda f=ours, e=expression: f[e])()
            found.append(differences(shown.loc[code][expression], values))
        gap, ratio, lone = (max(column) for column in zip(*found, strict=True))
        same &= ratio < 1e-6 and not lone
        print(f"{frequency}: {expression:16} largest difference {gap:.3g} (relative {ratio:.3g}), {lone} lone slots")
    return same


def members_alike(folder: QlibFolder, listed: str, D: Any) -> bool:
    """Print whether the bars of a list's members, on their days, are those that pyqlib shows; True where they are."""
    shown = D.features(D.instruments(listed), ["$close"], freq="day")["$close"].dropna()
    bars = 0
    for code, theirs in shown.groupby(level=0):
        ours = folder.read(code, members_of=listed)["close"]
        bars += len(ours)
        if ours.index.tolist() != theirs.index.get_level_values(1).tolist() or (ours.to_numpy() != theirs).any():
            print(f"day: members of {listed}: {code} DIFFERENT")
            return False
    print(f"day: members of {listed}: {bars} bars equal")
    return bars == len(shown)


def reads_back(folder: QlibFolder, frequency: str, given: Market) -> bool:
    """Print how what our reader gives back as original prices differs from what was given; True where it is float32."""
    worst = 0.0
    for symbol, frame in given.items():
        back = folder.read(symbol, frequency, adjust="original")
        if not back.index.equals(frame.index):
            print(f"{frequency}: {symbol}: the times differ")
            return False
        wanted = frame[list(back.columns)]
        worst = max(worst, float(((back - wanted).abs() / wanted.where(wanted != 0, 1.0)).to_numpy().max()))
    print(f"{frequency}: original prices, volumes and amounts come back to within {worst:.3g} (relative)")
    return worst < 1e-6


def alike(title: str, ours: QlibFolder, target: Path) -> bool:
    """Compare calendar and daily features of two folders by their bytes, and by what our reader sees in them."""
    pairs = [(path, target / path.relative_to(ours.root)) for path in ours.root.rglob("*.day.bin")]
    pairs.append((ours.root / "calendars/day.txt", target / "calendars/day.txt"))
    unlike = [str(path) for path, other in pairs if not other.is_file() or path.read_bytes() != other.read_bytes()]
    print(f"{title}: {len(pairs) - len(unlike)} of {len(pairs)} files have the same bytes", *unlike[:5])
    theirs = QlibFolder(target)
    seen = sum(theirs.read(qlib_code(name)).equals(ours.read(name)) for name in ours.symbols("day"))
    print(f"{title}: our reader sees the same bars of {seen} of {len(ours.symbols('day'))} symbols")
    return not unlike and seen == len(ours.symbols("day"))


def stored_alike(ours: QlibFolder, given: Market, target: Path) -> bool:
    """Have the storage of pyqlib write the same features."""
    from qlib.data.storage.file_storage import FileCalendarStorage, FileFeatureStorage

    (target / "calendars").mkdir(parents=True)
    times = ours.calendar("day")
    FileCalendarStorage("day", False, {"day": str(target)}).extend(times.strftime("%Y-%m-%d").tolist())
    for symbol in given:
        frame, name = ours.raw(symbol, FIELDS), folder_of(qlib_code(symbol))
        (target / "features" / name).mkdir(parents=True)
        for field in FIELDS:
            first = int(times.get_loc(frame.index[0]))
            FileFeatureStorage(name, field, "day", {"day": str(target)}).write(frame[field].to_numpy(), first)
    return alike("pyqlib's storage", ours, target)


def dumped_alike(script: Path, ours: QlibFolder, given: Market, scratch: Path) -> bool:
    """Have Qlib's own script dump the same features from CSV files; True where every file has the same bytes."""
    source, target = scratch / "csv", scratch / "dumped"
    source.mkdir()
    for symbol in given:
        frame = ours.raw(symbol, FIELDS)
        name = f"{folder_of(qlib_code(symbol))}.csv"
        frame.astype(np.float32).astype(np.float64).rename_axis("date").to_csv(source / name, float_format="%.17g")
    for flag in ("--data_path", "--csv_path"):  # the second is the older spelling
        command = [sys.executable, str(script), "dump_all", flag, str(source), "--qlib_dir", str(target)]
        done = subprocess.run([*command, "--include_fields", ",".join(FIELDS), "--max_workers", "1"], check=False)
        if done.returncode == 0:
            break
    return alike("dump_bin", ours, target)


def main() -> int:
    """Write, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=40)
    parser.add_argument("--days", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dump-bin", type=Path, help="Qlib's scripts/dump_bin.py")
    options = parser.parse_args()
    try:
        import qlib
        from qlib.data import D
    except ImportError:
        print("pyqlib is not installed here, so there is nothing to compare with; run: pip install pyqlib")
        return 0
    days = pd.bdate_range("2015-01-05", periods=options.days, name="timestamp")
    walls = [day + pd.Timedelta(minutes=570 + 5 * step) for day in days[-60:] for step in range(48)]
    daily = market(options.symbols, days, options.seed)
    fine = market(min(options.symbols, 8), pd.DatetimeIndex(walls, name="timestamp"), options.seed + 1)
    half = days[len(days) // 2]
    members = {name: [(days[0], days[20]), (half, days[-1])] for name in list(daily)[:5]}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "folder"
        early = {name: frame[frame.index <= half] for name, frame in daily.items()}
        print(write_qlib(root, early, factor="factor", calendar=days[days <= half]))
        print(write_qlib(root, daily, factor="factor", calendar=days, lists={"few": members}, append=True))
        print(write_qlib(root, fine, freq="5min", factor="factor", append=True))
        folder = QlibFolder(root)
        qlib.init(provider_uri=str(root), region="cn", kernels=1, expression_cache=None, dataset_cache=None)
        print(f"pyqlib {qlib.__version__}")
        results = [
            same
            for frequency, given in (("day", daily), ("5min", fine))
            for same in (
                compare(folder, frequency, {qlib_code(symbol): symbol for symbol in given}, D),
                reads_back(folder, frequency, given),
            )
        ]
        results.append(members_alike(folder, "few", D))
        results.append(stored_alike(folder, daily, Path(scratch) / "stored"))
        if options.dump_bin is not None:
            results.append(dumped_alike(options.dump_bin, folder, daily, Path(scratch)))
    print("no difference beyond float32" if all(results) else "DIFFERENT")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
