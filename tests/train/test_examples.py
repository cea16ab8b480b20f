"""The example configurations: they are the guides', every line is explained, their commands exist, and they run."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click import Command, Context, Group
from click.testing import CliRunner

import kronos
from kronos.cli import main
from kronos.config import Settings
from kronos.train import FinetuneSettings, PretrainSettings
from kronos.train.finetune_settings import (
    AugmentSettings,
    PredictorStage,
    ReplaySettings,
    ScoreSettings,
    SplitDates,
    SplitSettings,
    TokenizerStage,
)
from kronos.train.pretrain_settings import PredictorRecipe, Shape, TokenizerRecipe
from kronos.train.tuning import Tuning
from reference import TRAINED, tiny_network, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
GUIDE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def ids(path: Path) -> str:
    return path.stem


# --- what the guides say ---------------------------------------------------------------------------------------------

WANTED: Mapping[str, Mapping[str, Any]] = {
    "doge_1h": {
        "symbols": ["DOGE/USDT"], "timeframes": ["1h"], "lookback": 400, "horizon": 120, "batch": 8,
        "split.ratios": [0.7, 0.15, 0.15],
        "tokenizer.steps": None, "tokenizer.epochs": 5, "tokenizer.lr": 5e-6, "tokenizer.clip": 3.0,
        "predictor.steps": None, "predictor.epochs": 15, "predictor.lr": 2e-6, "predictor.clip": 3.0,
        "predictor.keep": "best", "predictor.patience": 5,
    },
    "btc_1d": {
        "timeframes": ["1d"], "lookback": 90, "horizon": 10, "batch": 50, "tokenizer.epochs": 30,
        "predictor.epochs": 30, "tokenizer.steps": None, "predictor.steps": None,
        "tokenizer.lr": 1e-4, "predictor.lr": 2e-5,
        "tokenizer.base_volatility": "auto", "predictor.base_volatility": "auto",
        "augment.kinds": {"noise", "warp", "scale", "invert"}, "augment.0.strength": 0.001,
    },
    "ashare_1d": {
        "lookback": 90, "horizon": 10, "batch": 50, "split.common": True,
        "tokenizer.lr": 2e-4, "predictor.lr": 4e-5, "tokenizer.clip": 2.0, "predictor.clip": 3.0,
        **{f"{stage}.{key}": value for stage in ("tokenizer", "predictor") for key, value in {
            "betas": [0.9, 0.95], "weight_decay": 0.1, "schedule": "onecycle", "warmup": 0.03, "initial_lr": 0.1,
            "epochs": 30, "steps": None, "optimiser": "adamw"}.items()},
    },
    "csv_5m": {"lookback": 512, "horizon": 48},
}  # fmt: skip


def at(tree: Any, place: str) -> Any:
    if place == "augment.kinds":
        return {one["kind"] for one in tree["augment"]}
    for key in place.split("."):
        tree = tree[int(key)] if isinstance(tree, list) else tree[key]
    return tree


def test_there_is_one_for_every_guide() -> None:
    assert {path.stem for path in EXAMPLES} == set(WANTED)


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_an_example_says_what_its_guide_says(path: Path) -> None:
    tree = FinetuneSettings.read(path).tree()
    for place, value in WANTED[path.stem].items():
        assert at(tree, place) == value, place


def test_the_parts_by_date_follow_each_other() -> None:
    dates = FinetuneSettings.read(ROOT / "examples" / "btc_1d.yaml").split.dates
    assert dates is not None
    edges = [day for part in (dates.train, dates.validation, dates.test) for day in part if day]
    assert edges == sorted(edges)
    assert dates.train[1] == dates.validation[0]
    assert dates.validation[1] == dates.test[0]


# --- what the files say ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_every_key_is_explained(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if re.match(r" *(- \{)?\w+:", line):
            above = before.strip().startswith("#") or before.strip().endswith(":")
            assert "#" in line or above or line.strip().endswith(":"), f"{path.name}: {line}"


def commands_of(text: str) -> list[list[str]]:
    """Every command line in comments or documents, `torchrun ... -m kronos` ones as `kronos` ones."""
    found = re.findall(r"^#? {4,}((?:kronos|torchrun) .*)$", text, flags=re.MULTILINE)
    lines = [re.sub(r"^torchrun .* -m kronos", "kronos", line) for line in found]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def parsed(words: list[str]) -> tuple[Command, Context]:
    """The command that words mean, its options and arguments read; click raises for what it does not know."""
    command: Command = main
    context = Context(main)
    while isinstance(command, Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    return command, command.make_context(command.name, list(words))


@pytest.mark.parametrize("path", [*EXAMPLES, ROOT / "docs" / "training.md"], ids=ids)
def test_the_commands_that_are_named_exist(path: Path) -> None:
    found = commands_of(path.read_text(encoding="utf-8"))
    assert any(words[:2] == ["train", "finetune"] for words in found)
    for words in found:
        command, context = parsed(words)
        config, settings = context.params.get("config"), FinetuneSettings
        if command.name == "pretrain":
            settings = PretrainSettings  # type: ignore[assignment]
        if config is not None and str(config).startswith("examples/"):
            settings.read(ROOT / config, context.params["overrides"])
        elif command.name in ("finetune", "pretrain"):
            settings.read(None, context.params["overrides"])


# --- whether they run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer, network = tiny_tokenizer(normaliser="returns", layers=1), tiny_network(n_layers=1, **TRAINED)
    network.record(pair=tokenizer.fingerprint(), name="tiny")
    tokenizer.save_pretrained(folder / "tokenizer")
    network.save_pretrained(folder / "predictor")
    return folder


def doge(folder: Path) -> None:
    kronos.sample_bars("crypto", rows=4200, timeframe="1h").to_csv(folder / "crypto_DOGE-USDT_1h.csv")


def btc(folder: Path) -> None:
    frame = kronos.sample_bars("crypto", rows=1096, timeframe="1d")
    frame.index = pd.date_range("2022-01-01", periods=len(frame), name="timestamp")
    frame.to_csv(folder / "crypto_BTC-USDT_1d.csv")


def shares(folder: Path) -> None:
    for seed in range(2):
        frame = kronos.sample_bars("stock", rows=800, seed=seed, timeframe="1d")
        frame.to_csv(folder / f"cn_60000{seed}.SH_1d.csv")


def five_minutes(folder: Path) -> None:
    kronos.sample_bars("crypto", rows=4000, timeframe="5m").to_csv(folder / "crypto_ETH-USDT_5m.csv")


DATA = {"doge_1h": doge, "btc_1d": btc, "ashare_1d": shares, "csv_5m": five_minutes}
SHORT = [
    "batch=2", "validation_windows=2", "tokenizer.steps=2", "predictor.steps=2", "score.origins=2", "score.samples=2",
    "score.test_origins=2", "score.test_samples=2",
]  # fmt: skip


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_an_example_runs_and_its_result_forecasts(path: Path, base: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    DATA[path.stem](data)
    overrides = [word for one in SHORT for word in ("--set", one)]
    command = ["train", "finetune", "--config", path, "--data", data, "--base", base, "--out", out, *overrides]
    result = CliRunner().invoke(main, [str(word) for word in command])
    assert result.exit_code == 0, result.output
    assert "hv20" in result.output
    settings = FinetuneSettings.read(path)
    assert settings.lookback is not None
    model = kronos.load(out)
    assert model.name == (settings.name or "tiny-tuned")
    file = next(data.iterdir())
    frame = pd.read_csv(file, index_col=0, parse_dates=True).tail(settings.lookback)
    made = model.forecast(frame, horizon=settings.horizon, samples=2)
    assert made.paths.shape == (2, settings.horizon, 6)
    assert made.meta["lookback"] == settings.lookback


# --- the tables of the guide -----------------------------------------------------------------------------------------

FINETUNE = {
    "finetune": FinetuneSettings,
    "split": SplitSettings,
    "split.dates": SplitDates,
    "augment": AugmentSettings,
    "replay": ReplaySettings,
    "score": ScoreSettings,
    "tuning": Tuning,
}
PRETRAIN = {"pretrain": PretrainSettings, "shapes": Shape}


def table(section: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    text = GUIDE.split(f"\n### {section}\n", 1)
    assert len(text) == 2, f"docs/training.md has no heading '### {section}'"
    rows = [line for line in text[1].split("\n#", 1)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def keys(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def documented(section: str) -> set[str]:
    found = [key for row in table(section) for key in keys(row[0])]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize(("section", "settings"), [*FINETUNE.items(), *PRETRAIN.items()])
def test_the_guide_names_every_key_and_no_other(section: str, settings: type[Settings]) -> None:
    assert documented(f"`{section}`") == set(settings.model_fields)


def test_the_guide_names_every_key_of_the_stages() -> None:
    own = "`tokenizer` and `predictor`"
    shared = set(TokenizerStage.model_fields) & set(PredictorStage.model_fields)
    assert documented(own) == shared | {"sibling", "lookback_weight", "match_spread"}
    assert set(PredictorStage.model_fields) - shared == {"sibling", "lookback_weight"}
    recipes = set(TokenizerRecipe.model_fields) | set(PredictorRecipe.model_fields)
    assert documented(f"{own} in pretraining") == recipes - shared | {"sibling", "lookback_weight", "match_spread"}


def same(cell: str, value: Any) -> bool:
    texts = keys(cell)
    return len(texts) == 1 and yaml.safe_load(texts[0]) == value


@pytest.mark.parametrize(("section", "settings"), FINETUNE.items())
def test_the_defaults_in_the_guide_are_the_defaults(section: str, settings: type[Settings]) -> None:
    for first, default, *_ in table(f"`{section}`"):
        (key,) = keys(first)
        field = settings.model_fields[key]
        if field.is_required():
            assert default == "", key
        elif default:  # an empty cell is a group of settings with a table of its own
            value = field.get_default(call_default_factory=True)
            assert same(default, list(value) if isinstance(value, tuple) else value), (
                f"{key}: {default}, really {value}"
            )
        else:
            assert isinstance(field.default, Settings), key


def test_the_defaults_of_the_stages_in_the_guide_are_the_defaults() -> None:
    stages = {"tokenizer": TokenizerStage().tree(), "predictor": PredictorStage().tree()}
    for first, tokenizer, predictor, _ in table("`tokenizer` and `predictor`"):
        (key,) = keys(first)
        if key == "tuning":
            continue
        for cell, tree in ((tokenizer, stages["tokenizer"]), (predictor, stages["predictor"])):
            assert same(cell, tree[key]) if key in tree else cell == "", f"{key}: {cell}"
