"""Publishing: what is prepared, what the card says, what is sent, and that the Hub gives the same pair back."""

import errno
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import save_file

import kronos
from fake_hub import Answer, FakeHub, failure, hub
from kronos.errors import CheckpointError, ConfigError, KronosError
from kronos.model import ZOO, Kronos, KronosTokenizer, Pair, checkpoint, load_pair
from kronos.model.card import Facts, model_card
from kronos.model.hub import check_repository, contents, prepare, upload
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer

TRAINING = {
    "settings": {
        "name": "twig",
        "base": "small",
        "data": ["/home/someone/bars", "bars/lake"],
        "symbols": ["BTC/USDT", "ETH/USDT"],
        "seed": 7,
        "cache": "/var/cache/kronos",
        "trackers": {"wandb": {"entity": "someone"}},
        "predictor": {"steps": 40, "lr": 0.001, "betas": [0.9, 0.95], "start": "~/weights", "early": None},
    },
    "series": 3,
    "bars": 123456,
    "cutoff": "2024-06-30",
    "parameters": {"tokenizer": 1, "predictor": 2},
    "validation": {"predictor": {"loss": 2.5, "s1": 3.25}},
    "reconstruction": {"error": [0.25, 0.5]},
    "codes_used": {"s1": 0.875},
    "base": "small",
}
COMPARISON = {
    "rows": [{"model": "base", "crps": 0.61, "nll": 3.0}, {"model": "tuned", "crps": 0.58, "cover_90": 0.9}],
    "origins": 1200,
    "verdict": "tuning helped: CRPS 0.61 -> 0.58",
}
NETWORKS = {
    "predictor/config.json",
    "predictor/model.safetensors",
    "tokenizer/config.json",
    "tokenizer/model.safetensors",
}


def refused(call: Callable[[], object], *words: str, kind: type[KronosError] = CheckpointError) -> None:
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def trained(folder: Path, seed: int = 0, **own: Any) -> Path:
    """What training leaves: the pair, and what belongs to the run alone."""
    network, tokenizer = tiny_network(seed, **own), tiny_tokenizer(seed)
    network.record(pair=tokenizer.fingerprint(), name="twig")
    network.save_pretrained(folder / "predictor")
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "runs" / "predictor" / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save({"network": network.state_dict()}, folder / "runs" / "predictor" / "checkpoints" / "step-1.pt")
    torch.save({"optimisers": []}, folder / "predictor" / "optimizer.pt")
    (folder / "settings.yaml").write_text(yaml.safe_dump(TRAINING["settings"]))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return trained(tmp_path / "run", **TRAINED)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def front_and_body(card: str) -> tuple[dict[str, Any], str]:
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


# Preparing ----------------------------------------------------------------------------------------------------------


def test_what_is_prepared_is_the_pair_and_its_card(source: Path, tmp_path: Path) -> None:
    out = prepare(source, tmp_path / "deep" / "hub")
    assert files_of(out) == NETWORKS | {"README.md"}
    assert {name for name, _ in contents(out)} == files_of(out)
    assert sum(size for _, size in contents(out)) == sum(
        path.stat().st_size for path in out.rglob("*") if path.is_file()
    )
    there, here = load_pair(out), load_pair(source)
    assert there.network.fingerprint() == here.network.fingerprint()
    assert there.tokenizer.fingerprint() == here.tokenizer.fingerprint()
    assert there.network.config == here.network.config
    assert list(tmp_path.glob("**/.*")) == []


def test_figures_and_picture_go_along_without_places(source: Path, tmp_path: Path) -> None:
    (source / "training.json").write_text(json.dumps(TRAINING))
    (source / "comparison.json").write_text(json.dumps(COMPARISON))
    (source / "training.png").write_bytes(b"\x89PNG")
    out = prepare(source, tmp_path / "hub")
    assert files_of(out) == NETWORKS | {"README.md", "training.json", "comparison.json", "training.png"}
    assert json.loads((out / "comparison.json").read_text()) == COMPARISON
    sent = json.loads((out / "training.json").read_text())
    assert (sent["bars"], sent["settings"]["predictor"]["lr"]) == (123456, 0.001)
    for path in out.rglob("*"):
        for place in (b"/home/someone", b"/var/cache", b"~/weights", b"wandb", b"bars/lake", bytes(tmp_path)):
            assert not path.is_file() or place not in path.read_bytes(), (path, place)


def test_a_tuned_published_pair_is_recorded_as_one(tmp_path: Path) -> None:
    tiny_network().save_pretrained(tmp_path / "run" / "predictor")
    tiny_tokenizer().save_pretrained(tmp_path / "run" / "tokenizer")
    out = prepare(tmp_path / "run", tmp_path / "hub")
    assert Kronos.from_pretrained(out / "predictor").pair == tiny_tokenizer().fingerprint()
    assert "pair" not in json.loads((tmp_path / "run" / "predictor" / "config.json").read_text()), (
        "the run is untouched"
    )
    tiny_tokenizer(3).save_pretrained(tmp_path / "other")
    refused(lambda: load_pair(out, tokenizer=tmp_path / "other"), "fingerprint")


@pytest.mark.filterwarnings("ignore:.*no config.json beside it")
def test_hand_placed_weights_are_published_as_safetensors(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    torch.save({"model": tiny_network().state_dict()}, tmp_path / "run" / "best.pt")
    torch.save(tiny_tokenizer().state_dict(), tmp_path / "run" / "tok.bin")
    out = prepare(tmp_path / "run", tmp_path / "hub")
    assert files_of(out) == NETWORKS | {"README.md"}
    assert load_pair(out).network.fingerprint() == tiny_network().fingerprint()


def test_a_folder_prepared_before_is_replaced_whole(source: Path, tmp_path: Path) -> None:
    (source / "comparison.json").write_text(json.dumps(COMPARISON))
    out = prepare(source, tmp_path / "hub")
    (source / "comparison.json").unlink()
    shutil.rmtree(source / "tokenizer")
    tiny_tokenizer(4).save_pretrained(source / "tokenizer")
    refused(lambda: prepare(source, out), "fingerprint")
    assert files_of(out) == NETWORKS | {"README.md", "comparison.json"}
    trained(source, 4)
    prepare(source, out)
    assert files_of(out) == NETWORKS | {"README.md"}
    assert load_pair(out).network.fingerprint() == tiny_network(4).fingerprint()


def test_pairs_that_are_not_whole_are_refused(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "hub"
    refused(lambda: prepare("owner/name", out), "owner/name", "no such folder")
    (source / "ensemble.json").write_text('{"members": ["member-1"]}')
    refused(lambda: prepare(source, out), "an ensemble", "a member's folder")
    (source / "ensemble.json").unlink()
    (source / "predictor" / "model.safetensors").write_bytes(b"half")
    refused(lambda: prepare(source, out), "model.safetensors", "not a readable safetensors file")
    shutil.rmtree(source / "predictor")
    refused(lambda: prepare(source, out), "no config.json")
    # a published tokenizer would fit this size, and is not what lies here
    Kronos(**ZOO["mini"].network_config).save_pretrained(source / "predictor")
    shutil.rmtree(source / "tokenizer")
    refused(lambda: prepare(source, out), str(source), "no config.json")
    assert not out.exists()


def test_folders_that_hold_something_else_are_not_replaced(source: Path, tmp_path: Path) -> None:
    refused(lambda: prepare(source, source), "folder of the training itself", kind=ConfigError)
    refused(lambda: prepare(source, tmp_path / "run" / ".." / "run"), "folder of the training", kind=ConfigError)
    refused(lambda: prepare(source, tmp_path), "run/", "not prepared for the Hub", kind=ConfigError)
    (tmp_path / "file").write_text("mine")
    refused(lambda: prepare(source, tmp_path / "file"), "this is a file", kind=ConfigError)
    out = prepare(source, tmp_path / "hub")
    (out / ".git").mkdir()
    (out / ".git" / "HEAD").write_text("ref: refs/heads/main")
    refused(lambda: prepare(source, out), ".git/HEAD", kind=ConfigError)
    assert (out / ".git" / "HEAD").exists()
    (tmp_path / "empty").mkdir()
    assert files_of(prepare(source, tmp_path / "empty")) == NETWORKS | {"README.md"}


def test_a_full_disk_leaves_what_was_there(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = prepare(source, tmp_path / "hub")
    before = {name: (out / name).read_bytes() for name in files_of(out)}
    trained(source, 2)

    def fail(weights: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "save_file", fail)
    for place in (out, tmp_path / "new"):
        with pytest.raises(OSError, match="No space left"):
            prepare(source, place)
    assert {name: (out / name).read_bytes() for name in files_of(out)} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub", "run"]


# The card -----------------------------------------------------------------------------------------------------------


def pair_of(**own: Any) -> Pair:
    return Pair("twig", tiny_network(**own), tiny_tokenizer(normaliser="returns" if own else "zscore"))


def test_the_card_says_what_the_files_say() -> None:
    facts = Facts(TRAINING, COMPARISON, TRAINING["settings"], picture=True)  # type: ignore[arg-type]
    pair = pair_of(**TRAINED, max_context=96, cutoff="2024-06-30")
    meta, body = front_and_body(model_card(pair, facts, repo="someone/doge", license="mit"))
    assert meta == {
        "license": "mit",
        "library_name": "kronos",
        "tags": ["time-series-forecasting", "candlesticks", "finance", "kronos"],
        "base_model": "NeoQuasar/Kronos-small",
    }
    sizes = [sum(p.numel() for p in one.parameters()) for one in (pair.network, pair.tokenizer)]
    for text in (
        "# doge\n",
        *(f"{size:,} parameters" for size in sizes),
        "5 + 5 bits",
        "layers 2, width 16, heads 2, feed-forward 24",
        "[NeoQuasar/Kronos-small](https://huggingface.co/NeoQuasar/Kronos-small)",
        'kronos.load("someone/doge")',
        "`sibling_form: trained`, `stamp_of: next`, `clock: utc`, `normaliser: returns`",
        "- series: 3\n- bars: 123,456\n- symbols: BTC/USDT, ETH/USDT\n- last day that the weights know of: 2024-06-30",
        "seed: 7",
        "betas: [0.9, 0.95]",
        "| validation.predictor.s1 | 3.25 |",
        "| reconstruction.error | 0.25, 0.5 |",
        "| codes used.s1 | 0.875 |",
        "![The training's curves](training.png)",
        "| model | crps | nll | cover 90 |",
        "| base | 0.61 | 3 |  |",
        "| tuned | 0.58 |  | 0.9 |",
        "1,200 forecast origins",
        "Verdict: tuning helped: CRPS 0.61 -> 0.58",
        "at most 96 bars",
        "up to 2024-06-30 flatter it",
    ):
        assert text in body, text
    for word in ("someone/bars", "lake", "wandb", "cache", "weights\n", "None", "null", "No scores"):
        assert word not in body, word
    compile(body.split("```python\n")[1].split("```")[0], "card", "exec")


def test_what_is_not_known_is_left_out() -> None:
    meta, body = front_and_body(model_card(pair_of(), Facts()))
    assert "license" not in meta
    assert "base_model" not in meta
    assert [line for line in body.splitlines() if line.startswith("#")] == ["# twig", "## Use", "## Limits"]
    assert 'kronos.load("OWNER/NAME")' in body
    assert "No scores of its forecasts on unseen bars came with it." in body
    assert "published code does not know" not in body
    assert "flatter" not in body
    assert "tuned" not in body


@pytest.mark.parametrize(
    ("base", "named"),
    [
        ("mini", "NeoQuasar/Kronos-mini"),
        ("someone/doge-7", "someone/doge-7"),
        ("nano", None),
        ("/home/someone/run", None),
        ("../run", None),
        ("a/b/c", None),
        ("tests/model", None),  # a folder of this checkout
        (17, None),
    ],
)
def test_a_base_is_named_where_others_can_find_it(
    base: Any, named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    meta, body = front_and_body(model_card(pair_of(), Facts(training={"base": base}, settings={"base": base})))
    assert meta.get("base_model") == named
    assert ("tuned from" in body) == (named is not None or base == "nano")
    assert "/home" not in body
    assert ".." not in body


def test_a_text_that_was_there_is_kept(source: Path, tmp_path: Path) -> None:
    front = "license: apache-2.0\nlanguage: en\ntags:\n- doge\n- finance\n"
    text = f"---\n{front}---\n# Mine\n\n| a |\n|---|\n\n---\nlast line\n"
    (source / "README.md").write_text(text, encoding="utf-8")
    meta, body = front_and_body((prepare(source, tmp_path / "hub") / "README.md").read_text(encoding="utf-8"))
    assert body.strip() == "# Mine\n\n| a |\n|---|\n\n---\nlast line"
    assert meta["license"] == "apache-2.0"
    assert meta["language"] == "en"
    assert meta["tags"] == ["doge", "finance", "time-series-forecasting", "candlesticks", "kronos"]
    meta, _ = front_and_body(
        (prepare(source, tmp_path / "hub", license="mit") / "README.md").read_text(encoding="utf-8")
    )
    assert meta["license"] == "mit"
    (source / "README.md").write_text("狗狗币\r\n", encoding="utf-8")
    assert "狗狗币\n" in (prepare(source, tmp_path / "hub") / "README.md").read_text(encoding="utf-8")
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    assert "## Limits" in (prepare(source, tmp_path / "hub") / "README.md").read_text(encoding="utf-8")


NONSENSE: list[Any] = [3, "text", None, [1, "x|y\nz", {}], {"a": {"b": [{"c": 1}, None]}}, float("nan"), True, [], {}]


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_strange_files_make_a_card_all_the_same(value: Any, source: Path, tmp_path: Path) -> None:
    keys = ("settings", "series", "bars", "cutoff", "validation", "reconstruction", "codes_used", "base")
    (source / "training.json").write_text(json.dumps(dict.fromkeys(keys, value)))
    rows = {"rows": value, "verdict": value, "origins": value}
    (source / "comparison.json").write_text(json.dumps(rows))
    _, body = front_and_body((prepare(source, tmp_path / "hub") / "README.md").read_text(encoding="utf-8"))
    assert "## Limits" in body
    (source / "training.json").write_text(json.dumps(value))
    (source / "comparison.json").write_text(json.dumps({"rows": [{"model": value, "crps": value}, value]}))
    (source / "settings.yaml").write_text(yaml.safe_dump(value))
    _, body = front_and_body((prepare(source, tmp_path / "hub") / "README.md").read_text(encoding="utf-8"))
    heights = {line.count("|") - line.count("\\|") for line in body.splitlines() if line.startswith("|")}
    assert len(heights) <= 1, "every row of the table has its cells"


def test_files_that_cannot_be_read_are_named(source: Path, tmp_path: Path) -> None:
    for name, content, words in (
        ("training.json", b"{", "not readable"),
        ("comparison.json", b"\xff\xff", "not readable"),
        ("README.md", b"\xff\xfe#", "not UTF-8"),
        ("README.md", b"---\na: [\n---\n", "no YAML"),
    ):
        (source / name).write_bytes(content)
        refused(lambda: prepare(source, tmp_path / "hub"), name, words)
        (source / name).unlink()
    (source / "settings.yaml").write_text("a: [")
    refused(lambda: prepare(source, tmp_path / "hub"), "settings.yaml", "not readable")


# The Hub, played by a server on this machine ------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with hub() as server:
        server.users["hf_owner"] = "owner"
        real = huggingface_hub.hf_hub_download
        own = functools.partial(real, endpoint=server.url, cache_dir=tmp_path / "cache")
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *names, **options: own(*names, **known(options)))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its storage has no server here
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "nobody"))
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits long between its attempts
        yield server


def known(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None or key != "cache_dir"}


@pytest.fixture
def send(server: FakeHub, tmp_path: Path) -> Callable[..., str]:
    def send(seed: int = 0, repo: str = "owner/twig", **options: Any) -> str:
        folder = prepare(trained(tmp_path / f"run-{seed}", seed), tmp_path / "hub", repo=repo)
        return upload(folder, repo, endpoint=server.url, **{"token": "hf_owner", **options})

    return send


def commit_of(address: str) -> str:
    return address.rpartition("/")[2]


def test_what_is_sent_is_what_was_prepared(server: FakeHub, send: Callable[..., str], tmp_path: Path) -> None:
    address = send()
    assert address.startswith(f"{server.url}/owner/twig/commit/")
    there = server.files("owner/twig")
    assert there.keys() - {".gitattributes"} == NETWORKS | {"README.md"}
    assert {name: (tmp_path / "hub" / name).read_bytes() for name in there if name != ".gitattributes"} == {
        name: content for name, content in there.items() if name != ".gitattributes"
    }
    large = [path for method, path in server.asked if method == "PUT"]
    assert len(large) == 2, "the weights went as large files"
    assert not server.repositories["owner/twig"].private


def test_what_was_put_into_the_folder_since_is_not_sent(
    server: FakeHub, send: Callable[..., str], tmp_path: Path
) -> None:
    out = prepare(trained(tmp_path / "run"), tmp_path / "hub")
    torch.save({"optimizer": {}}, out / "optimizer.pt")
    (out / "predictor" / "secrets.txt").write_text("mine")
    upload(out, "owner/twig", endpoint=server.url, token="hf_owner")
    assert server.files("owner/twig").keys() - {".gitattributes"} == NETWORKS | {"README.md"}
    (out / "tokenizer" / "model.safetensors").write_bytes(b"half")
    asked = len(server.asked)
    refused(lambda: upload(out, "owner/twig", endpoint=server.url, token="hf_owner"), "model.safetensors")
    assert len(server.asked) == asked, "a pair that does not load is not sent"


def test_the_hub_gives_the_pair_back(send: Callable[..., str]) -> None:
    send()
    pair = load_pair("owner/twig")
    assert (pair.name, pair.network.fingerprint()) == ("twig", tiny_network().fingerprint())
    assert pair.tokenizer.fingerprint() == tiny_tokenizer().fingerprint()
    assert not pair.network.training
    model = kronos.load("owner/twig", device="cpu")
    assert model.forecast(bars_frame(16), 2, samples=2).paths.shape == (2, 2, 6)
    for part, kind in (("predictor", Kronos), ("tokenizer", KronosTokenizer)):
        assert kind.from_pretrained("owner/twig", subfolder=part).fingerprint()  # type: ignore[attr-defined]
    other = load_pair("owner/twig", tokenizer="owner/twig")
    assert other.tokenizer.fingerprint() == pair.tokenizer.fingerprint()


def test_revisions_pin_both(server: FakeHub, send: Callable[..., str]) -> None:
    first, second = commit_of(send(0)), commit_of(send(5))
    assert first != second
    server.repositories["owner/twig"].names["v1"] = first
    for revision, seed in (("v1", 0), (first, 0), (second, 5), ("main", 5), (None, 5)):
        pair = load_pair("owner/twig", revision=revision)
        assert pair.network.fingerprint() == tiny_network(seed).fingerprint()
        assert pair.tokenizer.fingerprint() == tiny_tokenizer(seed).fingerprint()
    refused(lambda: load_pair("owner/twig", revision="v1", tokenizer_revision="main"), "fingerprint")
    refused(lambda: load_pair("owner/twig", revision="v7"), "owner/twig", "no revision 'v7'")


def test_the_same_again_makes_no_commit(server: FakeHub, send: Callable[..., str]) -> None:
    first, again = commit_of(send(0)), commit_of(send(0))
    assert first == again
    assert len([path for method, path in server.asked if "/commit/" in path]) == 1
    assert len([path for method, path in server.asked if method == "PUT"]) == 2


def test_a_second_load_downloads_nothing_and_works_without_the_hub(server: FakeHub, send: Callable[..., str]) -> None:
    send()
    load_pair("owner/twig")
    sent = [path for method, path in server.asked if method == "GET" and ("resolve" in path or "cdn" in path)]
    load_pair("owner/twig")
    again = [path for method, path in server.asked if method == "GET" and ("resolve" in path or "cdn" in path)]
    assert again == sent
    assert load_pair("owner/twig", local_files_only=True).name == "twig"
    server.close()
    assert load_pair("owner/twig").tokenizer.fingerprint() == tiny_tokenizer().fingerprint()
    refused(lambda: load_pair("owner/other"), "owner/other", "cannot be reached")


def test_repositories_of_other_shapes(server: FakeHub, tmp_path: Path) -> None:
    out = prepare(trained(tmp_path / "run"), tmp_path / "hub")
    whole = {name: (out / name).read_bytes() for name in files_of(out)}
    root = {name.removeprefix("predictor/"): content for name, content in whole.items() if "predictor/" in name}
    server.put("owner/twig", root)
    assert Kronos.from_pretrained("owner/twig").fingerprint() == tiny_network().fingerprint()
    refused(lambda: load_pair("owner/twig"), "no tokenizer lies beside")
    torch.save(tiny_network().state_dict(), tmp_path / "old.bin")
    old = {"config.json": root["config.json"], "pytorch_model.bin": (tmp_path / "old.bin").read_bytes()}
    server.put("owner/twig", old)
    assert Kronos.from_pretrained("owner/twig").fingerprint() == tiny_network().fingerprint()
    server.put("owner/twig", {"README.md": b"nothing yet"})
    refused(lambda: load_pair("owner/twig"), "holds no config.json, nor predictor/config.json")
    refused(lambda: load_pair("nano", tokenizer="owner/twig"), "holds no config.json, nor tokenizer/config.json")
    server.put("owner/twig", {name: content for name, content in whole.items() if "tokenizer" not in name})
    refused(lambda: load_pair("owner/twig"), "tokenizer/config.json")


def test_a_tokenizer_by_its_name_in_the_zoo(server: FakeHub, tmp_path: Path) -> None:
    tokenizer = KronosTokenizer(**ZOO["small"].tokenizer_config)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    files = {name: (tmp_path / "tokenizer" / name).read_bytes() for name in ("config.json", "model.safetensors")}
    server.put(ZOO["small"].tokenizer, files)
    save_file(tiny_network(bits=(10, 10)).state_dict(), tmp_path / "own.safetensors")
    for name in ("small", "base", "large"):
        with pytest.warns(kronos.KronosWarning, match="no config.json"):
            pair = load_pair(tmp_path / "own.safetensors", tokenizer=name)
        assert pair.tokenizer.fingerprint() == tokenizer.fingerprint()
    with pytest.warns(kronos.KronosWarning, match="no config.json"):
        refused(lambda: load_pair(tmp_path / "own.safetensors", tokenizer="nano"), "10 + 10", "8 + 8")


def test_private_repositories(server: FakeHub, send: Callable[..., str]) -> None:
    send(private=True)
    assert server.repositories["owner/twig"].private
    send(3, private=True)
    refused(lambda: load_pair("owner/twig"), "private or gated and needs token=")
    assert load_pair("owner/twig", token="hf_owner").network.fingerprint() == tiny_network(3).fingerprint()
    send(0, repo="owner/open")
    before = server.files("owner/open")
    refused(lambda: send(3, repo="owner/open", private=True), "owner/open", "public already")
    assert server.files("owner/open") == before


def test_the_token_is_found(server: FakeHub, send: Callable[..., str], tmp_path: Path, monkeypatch: Any) -> None:
    refused(lambda: send(token=None), "no token", "hf auth login", "HF_TOKEN")
    assert server.asked == []
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    send(token=None)
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text("hf_owner")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    send(4, token=None)
    assert load_pair("owner/twig").network.fingerprint() == tiny_network(4).fingerprint()


def test_what_the_hub_refuses(server: FakeHub, send: Callable[..., str]) -> None:
    refused(lambda: send(token="hf_stranger"), "owner/twig", "does not know this token", "hf auth login")
    refused(lambda: send(repo="other/twig"), "other/twig", "may not write there", "the right to write to other")
    server.fail("/create", failure(402, "over the free quota"))
    refused(send, "owner/twig", "status 402", "over the free quota")
    assert server.repositories == {}
    for path, answer, words in (
        ("/preupload/", failure(403, "read only token"), ("may not write there", "read only token")),
        ("/commit/", failure(400, "the summary is missing"), ("status 400", "the summary is missing")),
        ("objects/batch", failure(413, "too large"), ("status 413", "too large")),
    ):
        server.fail(path, answer)
        refused(lambda: send(9), "owner/twig", *words)
        server.faults.clear()
    send(9)
    assert load_pair("owner/twig").network.fingerprint() == tiny_network(9).fingerprint()


def test_cards_that_the_hub_remarks_on(server: FakeHub, tmp_path: Path) -> None:
    out = prepare(trained(tmp_path / "run"), tmp_path / "hub")
    server.remarks.append('"license" is missing\nfrom the metadata')
    said: list[str] = []
    upload(out, "owner/twig", endpoint=server.url, token="hf_owner", report=said.append)
    assert any('"license" is missing' in line for line in said)
    assert not any("\n" in line for line in said)
    invalid = {"errors": [{"message": '"license" must be one of those'}], "warnings": []}
    server.fail("validate-yaml", Answer(400, invalid))
    refused(lambda: upload(out, "owner/twig", endpoint=server.url, token="hf_owner"), '"license" must be one of those')


def test_lines_that_break(server: FakeHub, send: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    server.fail("/lfs/", failure(503, "slow down"))
    server.fail("/preupload/", None)
    first = commit_of(send())  # what passes is tried again by the client itself
    server.fail("/lfs/", None, times=99)
    refused(lambda: send(6), "owner/twig", "the same command tries again")
    server.faults.clear()
    assert server.repositories["owner/twig"].names["main"] == first, "half of an upload is none"
    send(6)
    assert load_pair("owner/twig").network.fingerprint() == tiny_network(6).fingerprint()
    server.close()
    refused(lambda: send(7), "owner/twig", "the Hub cannot be reached")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(lambda: send(7), "owner/twig", "offline")


def test_a_disk_that_fails_during_the_upload(send: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "model.safetensors")

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", fail)
    refused(send, "owner/twig", "model.safetensors: Input/output error")


def test_a_folder_that_is_not_there_is_no_hub_name(server: FakeHub) -> None:
    refused(lambda: upload("owner/twig", "owner/twig", endpoint=server.url, token="hf_owner"), "no such folder")
    assert server.asked == []


@pytest.mark.parametrize(
    "name",
    ["", "twig", "owner/", "/twig", "a/b/c", "owner/tw ig", "./twig", "owner/-twig", "owner/twig.", "owner/tw--ig",
     "owner/tw..ig", "owner/twig.git", "owner/" + "x" * 97, "https://hub/owner/twig", "владелец/имя", "owner\\twig"],
)  # fmt: skip
def test_names_that_no_repository_has(name: str, server: FakeHub, tmp_path: Path) -> None:
    refused(lambda: check_repository(name), "Hub name", kind=ConfigError)
    refused(lambda: upload(tmp_path, name, endpoint=server.url, token="hf_owner"), "Hub name", kind=ConfigError)
    assert server.asked == []


@pytest.mark.parametrize("name", ["owner/twig", "a-b/c.d_e", "Owner1/Kronos-7B", "o/t", "_x/y_"])
def test_names_that_repositories_have(name: str) -> None:
    check_repository(name)
    huggingface_hub.utils.validate_repo_id(name)
