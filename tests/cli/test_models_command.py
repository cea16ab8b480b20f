"""`kronos models`: the list as it was, and a trained pair put on a Hub by a user at a terminal."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fake_hub import hub
from kronos.cli import main
from kronos.model import Kronos, load_pair
from reference import TRAINED, tiny_network, tiny_tokenizer


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    network, tokenizer = tiny_network(**TRAINED), tiny_tokenizer(normaliser="returns")
    network.record(pair=tokenizer.fingerprint(), cutoff="2024-06-30", name="doge")
    network.save_pretrained(folder / "predictor")
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "training.json").write_text(json.dumps({"series": 4, "bars": 98765, "base": "nano"}))
    (folder / "best.pt").write_bytes(b"an optimiser's")
    return folder


def test_the_list_is_what_it_was() -> None:
    table = run("models")
    assert table.exit_code == 0
    assert [line.split()[0] for line in table.output.splitlines()] == ["name", "nano", "mini", "small", "base", "large"]
    assert "4,108,032" in table.output
    rows = json.loads(run("models", "--json").output)
    assert {row["name"]: row["source"] for row in rows}["small"] == "NeoQuasar/Kronos-small"
    listed = run("models", "--help").output
    assert "push" in listed
    assert run("models", "pull").exit_code == 2


def test_a_folder_is_prepared_without_a_repository(trained: Path, tmp_path: Path) -> None:
    result = run("models", "push", trained, "--out", tmp_path / "new" / "hub", "--license", "mit")
    assert result.exit_code == 0, result.output
    out = tmp_path / "new" / "hub"
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "predictor", "tokenizer", "training.json"]
    assert f"wrote {out}: README.md, predictor/config.json" in result.output
    assert "sent" not in result.output
    card = (out / "README.md").read_text()
    assert "license: mit\n" in card
    assert "- bars: 98,765" in card
    assert load_pair(out).network.fingerprint() == tiny_network(**TRAINED).fingerprint()


def test_a_dry_run_shows_all_and_writes_nothing(trained: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    arguments = ("models", "push", trained, "--repo", "owner/doge", "--license", "cc-by-4.0", "--dry-run")
    result = run(*arguments, "--out", tmp_path / "hub")
    assert result.exit_code == 0, result.output
    assert sorted(tmp_path.rglob("*")) == before
    sizes = {line.split()[1]: line.split()[0] for line in result.output.splitlines() if "/" in line.split(" ")[-1]}
    assert sizes["predictor/model.safetensors"] == f"{(trained / 'predictor' / 'model.safetensors').stat().st_size:,}"
    assert "best.pt" not in result.output
    assert "to owner/doge; nothing was sent" in result.output
    assert 'kronos.load("owner/doge")' in result.output
    assert "license: cc-by-4.0" in result.output
    assert run("models", "push", trained, "--dry-run").exit_code == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "--repo OWNER/NAME"),
        (["--private"], 2, "--repo OWNER/NAME"),
        (["--private", "--out", "hub"], 2, "--repo OWNER/NAME"),
        (["--repo", "doge"], 1, "'doge' is no Hub name"),
        (["--repo", "https://hub/owner/doge"], 1, "is no Hub name"),
        (["--out", "run"], 1, "the folder of the training itself"),
        (["--out", "run/predictor"], 1, "not prepared for the Hub"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    options: list[str], code: int, words: str, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.parent)
    result = run("models", "push", trained, *options)
    assert result.exit_code == code
    assert words in result.output
    assert len([line for line in result.output.splitlines() if line.startswith("Error")]) == 1
    assert Kronos.from_pretrained(trained / "predictor").name == "doge"


def test_a_pair_that_does_not_load_is_not_prepared(trained: Path, tmp_path: Path) -> None:
    shutil.rmtree(trained / "tokenizer")
    tiny_tokenizer(3).save_pretrained(trained / "tokenizer")
    result = run("models", "push", trained, "--out", tmp_path / "hub")
    assert (result.exit_code, "fingerprint" in result.output) == (1, True)
    result = run("models", "push", tmp_path / "nowhere", "--out", tmp_path / "hub")
    assert (result.exit_code, "no such folder" in result.output) == (1, True)
    assert not (tmp_path / "hub").exists()


def test_from_a_terminal_to_the_hub_and_back(trained: Path, tmp_path: Path) -> None:
    with hub() as server:
        server.users["hf_owner"] = "owner"
        ours = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))},
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",  # its storage has no server here
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        command = [sys.executable, "-m", "kronos", "models", "push", str(trained), "--repo", "owner/doge", "--private"]
        done = subprocess.run(command, env=ours, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.strip().splitlines()[-1].startswith("Error: owner/doge: no token for the Hub")
        assert server.asked == []
        ours["HF_TOKEN"] = "hf_owner"
        done = subprocess.run(command, env=ours, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0].startswith("sent 6 files, ")
        assert lines[0].split()[-1].startswith(f"{server.url}/owner/doge/commit/")
        assert lines[1] == 'load it with kronos.load("owner/doge")'
        assert server.repositories["owner/doge"].private
        code = "import sys, kronos; sys.stdout.write(kronos.load('owner/doge', device='cpu').model.fingerprint())"
        back = subprocess.run([sys.executable, "-c", code], env=ours, capture_output=True, text=True, check=False)
        assert back.stdout == tiny_network(**TRAINED).fingerprint(), back.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "run"], "nothing is left behind"
