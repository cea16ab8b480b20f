"""Checkpoints: what does not fit is refused in one line, pairs are checked, and the Hub is asked as it should be."""

import functools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlparse

import huggingface_hub
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import kronos
from kronos.errors import CheckpointError, ConfigError
from kronos.model import ZOO, Kronos, KronosTokenizer, check_pair, checkpoint, context_of, load_pair
from kronos.model.zoo import published_entry
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer


def refused(load: Callable[[], object], *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "predictor"
    tiny_network().save_pretrained(folder)
    return folder


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    config = {key: value for key, value in config.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))


# Loading is strict --------------------------------------------------------------------------------------------------


def test_loading_gives_the_same_function_in_evaluation_mode(saved: Path) -> None:
    for model in (Kronos.from_pretrained(saved), Kronos.from_pretrained(str(saved))):
        assert not model.training
        assert not any(module.training for module in model.modules())
        assert model.fingerprint() == tiny_network().fingerprint()
        assert not any(tensor.is_meta for tensor in model.state_dict().values())
    assert Kronos.from_pretrained(saved.parent, subfolder="predictor").fingerprint() == model.fingerprint()


def test_a_missing_tensor(saved: Path) -> None:
    change_weights(saved, lambda weights: weights.pop("norm.weight"))
    refused(lambda: Kronos.from_pretrained(saved), "model.safetensors", "lacks norm.weight")


def test_an_extra_tensor(saved: Path) -> None:
    change_weights(saved, lambda weights: weights.update(stray=torch.zeros(1)))
    refused(lambda: Kronos.from_pretrained(saved), "model.safetensors", "unknown stray")


def test_a_wrong_shape(saved: Path) -> None:
    change_weights(saved, lambda weights: weights.update({"norm.weight": torch.ones(7)}))
    refused(lambda: Kronos.from_pretrained(saved), "model.safetensors", "norm.weight", "(7,)", "(16,)")


def test_the_other_network_s_file(saved: Path, tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    refused(lambda: Kronos.from_pretrained(tmp_path / "tokenizer"), "config.json", "not a Kronos configuration")
    refused(lambda: KronosTokenizer.from_pretrained(saved), "config.json", "not a KronosTokenizer", "d_in")


def test_missing_places(saved: Path, tmp_path: Path) -> None:
    refused(lambda: Kronos.from_pretrained(tmp_path / "absent"), str(tmp_path / "absent"), "no such folder")
    (saved / "model.safetensors").rename(saved / "elsewhere")
    refused(lambda: Kronos.from_pretrained(saved), "model.safetensors", "no such file")
    (saved / "config.json").unlink()
    refused(lambda: Kronos.from_pretrained(saved), str(saved), "no config.json")


@pytest.mark.parametrize("damage", [b"", b"not weights", b"\xff" * 64])
def test_damaged_weights(saved: Path, damage: bytes) -> None:
    (saved / "model.safetensors").write_bytes(damage)
    refused(lambda: Kronos.from_pretrained(saved), "model.safetensors", "not a readable safetensors file")


def test_truncated_weights(saved: Path) -> None:
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[:-100])
    refused(lambda: Kronos.from_pretrained(saved), "model.safetensors")


@pytest.mark.parametrize(
    ("text", "word"),
    [("{", "not a readable"), ("[1]", "found list"), ("", "not a readable"), ("\xff", "not a readable")],
)
def test_damaged_configuration(saved: Path, text: str, word: str) -> None:
    (saved / "config.json").write_bytes(text.encode("latin-1"))
    refused(lambda: Kronos.from_pretrained(saved), "config.json", word)


def test_a_missing_configuration_key(saved: Path) -> None:
    change_config(saved, ff_dim=...)
    refused(lambda: Kronos.from_pretrained(saved), "config.json", "lacks ff_dim")


@pytest.mark.parametrize(
    "changes",
    [
        {"d_model": 0},
        {"d_model": -16},
        {"d_model": "16"},
        {"d_model": 18},
        {"n_heads": 0},
        {"n_layers": None},
        {"s1_bits": 70},
        {"ffn_dropout_p": 3},
        {"sibling_form": "leaking"},
        {"stamp_of": "last"},
        {"clock": "local"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_nonsense_in_the_configuration(saved: Path, changes: dict[str, Any]) -> None:
    change_config(saved, **changes)
    refused(lambda: Kronos.from_pretrained(saved), "config.json")


def test_unknown_configuration_keys_are_somebody_else_s(saved: Path) -> None:
    change_config(saved, _library="somebody's", architectures=["Kronos"])
    assert Kronos.from_pretrained(saved).fingerprint() == tiny_network().fingerprint()


def test_half_precision_is_computed_in_float32(saved: Path) -> None:
    def halve(weights: dict[str, torch.Tensor]) -> None:
        weights.update({k: v.half() if v.is_floating_point() else v for k, v in weights.items()})

    change_weights(saved, halve)
    model = Kronos.from_pretrained(saved)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert torch.equal(model.head.proj_s1.weight, tiny_network().head.proj_s1.weight.half().float())
    folder = saved.parent / "tokenizer"
    tiny_tokenizer().save_pretrained(folder)
    change_weights(folder, halve)
    tokenizer = KronosTokenizer.from_pretrained(folder)
    assert tokenizer.tokenizer.bsq.basis.dtype == torch.int64
    assert tokenizer.head.weight.dtype == torch.float32


# Saving -------------------------------------------------------------------------------------------------------------


def test_a_published_configuration_holds_the_constructor_s_arguments_only(tmp_path: Path) -> None:
    tiny_network().save_pretrained(tmp_path / "network")
    assert sorted(json.loads((tmp_path / "network" / "config.json").read_text())) == sorted(ZOO["mini"].network_config)
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    written = json.loads((tmp_path / "tokenizer" / "config.json").read_text())
    assert sorted(written) == sorted(ZOO["mini"].tokenizer_config)


def test_own_keys_are_written_where_they_differ_and_come_back(tmp_path: Path) -> None:
    network = tiny_network(**TRAINED, max_context=96)
    network.record(pair="0" * 16, cutoff="2024-01-01", name="mine")
    network.save_pretrained(tmp_path / "network")
    written = json.loads((tmp_path / "network" / "config.json").read_text())
    own = {key: written[key] for key in written.keys() - ZOO["mini"].network_config.keys()}
    assert own == {**TRAINED, "max_context": 96, "pair": "0" * 16, "cutoff": "2024-01-01", "name": "mine"}
    back = Kronos.from_pretrained(tmp_path / "network")
    assert {key: getattr(back, key) for key in own} == own
    assert context_of(back) == 96
    tiny_tokenizer(normaliser="returns").save_pretrained(tmp_path / "tokenizer")
    assert json.loads((tmp_path / "tokenizer" / "config.json").read_text())["normaliser"] == "returns"
    assert KronosTokenizer.from_pretrained(tmp_path / "tokenizer").normaliser == "returns"


def test_only_own_keys_are_recorded() -> None:
    with pytest.raises(ConfigError, match="no recordable key 'd_model'"):
        tiny_network().record(d_model=3)


def test_saved_files_have_no_metadata_block(saved: Path) -> None:
    raw = (saved / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert "__metadata__" not in header


def test_nothing_half_written_when_saving_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(weights: dict[str, torch.Tensor], path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("the disk is full")

    network = tiny_network(seed=1)
    tiny_network().save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(OSError, match="disk is full"):
        network.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(OSError, match="disk is full"):
        network.save_pretrained(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_fingerprints(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    first = tokenizer.fingerprint()
    assert first == tiny_tokenizer().fingerprint() != tiny_tokenizer(seed=1).fingerprint()
    tokenizer.save_pretrained(tmp_path)
    assert KronosTokenizer.from_pretrained(tmp_path).fingerprint() == first
    with torch.no_grad():
        tokenizer.head.bias[0] += 1e-6
    assert tokenizer.fingerprint() != first


# Pairs --------------------------------------------------------------------------------------------------------------


def published(name: str) -> tuple[Kronos, KronosTokenizer]:
    with torch.device("meta"):
        return Kronos(**ZOO[name].network_config), KronosTokenizer(**ZOO[name].tokenizer_config)


def test_published_pairs_by_size() -> None:
    for name in ("mini", "small", "base"):
        network, tokenizer = published(name)
        check_pair(network, tokenizer)
        entry = published_entry(network)
        assert entry is not None
        assert entry.name == name
        assert context_of(network) == ZOO[name].max_context


def test_mini_with_the_base_tokenizer_names_the_right_one() -> None:
    (mini, right), (small, wrong) = published("mini"), published("small")
    refused(lambda: check_pair(mini, wrong), "NeoQuasar/Kronos-Tokenizer-2k", "group_size 4")
    refused(lambda: check_pair(small, right), "NeoQuasar/Kronos-Tokenizer-base", "group_size 5")


def test_recording_makes_a_custom_pair() -> None:
    mini, _ = published("mini")
    other = KronosTokenizer(**ZOO["small"].tokenizer_config)
    mini.record(pair=other.fingerprint())
    check_pair(mini, other)


def test_bits_that_do_not_match() -> None:
    refused(lambda: check_pair(tiny_network(), tiny_tokenizer(bits=(5, 4))), "5 + 5", "5 + 4")
    refused(lambda: check_pair(tiny_network(bits=(4, 6)), tiny_tokenizer()), "4 + 6", "5 + 5")


def test_a_recorded_fingerprint_that_does_not_match() -> None:
    network, tokenizer = tiny_network(), tiny_tokenizer()
    network.record(pair=tokenizer.fingerprint())
    check_pair(network, tokenizer)
    other = tiny_tokenizer(seed=5)
    refused(lambda: check_pair(network, other), tokenizer.fingerprint(), other.fingerprint())
    refused(lambda: kronos.KronosPredictor(network, other), "fingerprint")  # every door checks


def test_load_pair_from_folders(tmp_path: Path) -> None:
    network, tokenizer = tiny_network(name="twig"), tiny_tokenizer()
    network.record(pair=tokenizer.fingerprint())
    network.save_pretrained(tmp_path / "predictor")
    refused(lambda: load_pair(tmp_path), "no tokenizer lies beside", "tokenizer=")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    for place in (tmp_path, str(tmp_path), tmp_path / "predictor"):
        pair = load_pair(place)
        assert (pair.name, pair.tokenizer.fingerprint()) == ("twig", tokenizer.fingerprint())
    tiny_tokenizer(seed=3).save_pretrained(tmp_path / "other" / "tokenizer")
    refused(lambda: load_pair(tmp_path, tokenizer=tmp_path / "other"), "fingerprint")
    (tmp_path / "tokenizer").rename(tmp_path / "moved")
    assert load_pair(tmp_path, tokenizer=tmp_path / "moved").tokenizer.fingerprint() == tokenizer.fingerprint()


def test_names_that_mean_nothing() -> None:
    refused(lambda: load_pair("gigantic"), "'gigantic'", "nano", "OWNER/MODEL")
    refused(lambda: load_pair("large"), "never released")
    refused(lambda: load_pair("a/b/c"), "no such folder")
    refused(lambda: Kronos.from_pretrained("./owner"), "no such folder")
    refused(lambda: Kronos.from_pretrained("owner/mo--del"), "not a Hub name")


def test_the_embedded_pair() -> None:
    entry = ZOO["nano"]
    if not entry.embedded:
        pytest.skip("this checkout holds no embedded weights")
    pair = load_pair("nano")
    assert sum(p.numel() for p in pair.network.parameters()) == entry.parameters
    assert sum(p.numel() for p in pair.tokenizer.parameters()) == entry.tokenizer_parameters
    assert pair.network.pair == pair.tokenizer.fingerprint()
    assert context_of(pair.network) == entry.max_context


# The Hub, played by a server on this machine ------------------------------------------------------------------------


class Hub:
    """A server that speaks the Hub's file protocol for files in a folder: OWNER/MODEL/REVISION/FILE."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []  # type: ignore[var-annotated]
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    drops_connections = False
    commits: ClassVar[dict[str, str]] = {"main": "a" * 40, "v1": "b" * 40}

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        parts = request.path.strip("/").split("/", 4)
        self.asked.append((request.command, request.path))
        if len(parts) < 5 or parts[2] != "resolve":
            return self.reply(request, 404)
        owner, model, _, revision, name = parts
        if not (self.folder / owner / model).is_dir():
            return self.reply(request, 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "no such repository"})
        if revision not in self.commits:
            return self.reply(request, 404, {"X-Error-Code": "RevisionNotFound"})
        known = {"X-Repo-Commit": self.commits[revision]}
        file = self.folder / owner / model / revision / name
        if not file.is_file():
            return self.reply(request, 404, {"X-Error-Code": "EntryNotFound", **known})
        content = file.read_bytes()
        return self.reply(request, 200, {"ETag": f'"{hash(content):x}"', **known}, content, body=body)

    def reply(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str] | None = None,
        content: bytes = b"",
        *,
        body: bool = False,
    ) -> None:
        request.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            request.send_header(key, value)
        request.end_headers()
        if body:
            request.wfile.write(content[: len(content) // 2] if self.drops_connections else content)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = tmp_path / "hub"
    for revision, seed in (("main", 0), ("v1", 7)):
        tiny_network(seed).save_pretrained(folder / "owner" / "net" / revision)
        tiny_tokenizer(seed).save_pretrained(folder / "owner" / "tok" / revision)
    hub = Hub(folder)
    real = huggingface_hub.hf_hub_download
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", functools.partial(real, endpoint=hub.url))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits long between its attempts
    yield hub
    hub.stop()


def test_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    newest = Kronos.from_pretrained("owner/net", cache_dir=cache)
    assert newest.fingerprint() == tiny_network().fingerprint()
    assert not newest.training
    tagged = Kronos.from_pretrained("owner/net", revision="v1", cache_dir=cache)
    assert tagged.fingerprint() == tiny_network(7).fingerprint()
    assert {path.split("/")[4] for _, path in hub.asked} == {"main", "v1"}


def test_a_second_load_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    for _ in range(2):
        Kronos.from_pretrained("owner/net", cache_dir=tmp_path / "cache")
    assert [command for command, _ in hub.asked].count("GET") == 2  # the two files, once each


def test_a_pair_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    pair = load_pair("owner/net", tokenizer="owner/tok", cache_dir=cache)
    assert (pair.name, pair.tokenizer.fingerprint()) == ("net", tiny_tokenizer().fingerprint())
    refused(lambda: load_pair("owner/net", cache_dir=cache), "owner/net", "tokenizer=")
    model = kronos.load("owner/net", tokenizer="owner/tok", revision="v1", cache_dir=cache, device="cpu")
    assert model.model.fingerprint() == tiny_network(7).fingerprint()  # the revision is the network's
    assert model.tokenizer.fingerprint() == tiny_tokenizer().fingerprint()
    assert model.forecast(bars_frame(16), 2, samples=2).paths.shape == (2, 2, 6)


def test_what_the_hub_does_not_have(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    refused(lambda: Kronos.from_pretrained("owner/absent", cache_dir=cache), "owner/absent", "no such repository")
    refused(lambda: Kronos.from_pretrained("owner/net", revision="v9", cache_dir=cache), "owner/net", "'v9'")
    refused(lambda: Kronos.from_pretrained("owner/net", subfolder="deep", cache_dir=cache), "no config.json")
    (hub.folder / "owner" / "net" / "v1" / "model.safetensors").unlink()
    refused(lambda: Kronos.from_pretrained("owner/net", revision="v1", cache_dir=cache), "no model.safetensors")


def test_a_dropped_connection(hub: Hub, tmp_path: Path) -> None:
    hub.drops_connections = True
    refused(lambda: Kronos.from_pretrained("owner/net", cache_dir=tmp_path / "cache"), "owner/net", "cannot be had")
    hub.drops_connections = False
    assert Kronos.from_pretrained("owner/net", cache_dir=tmp_path / "cache").d_model == 16


def test_both_parts_of_a_pair_are_pinned(hub: Hub, tmp_path: Path) -> None:
    pins = {"revision": "main", "tokenizer_revision": "v1"}
    model = kronos.load("owner/net", tokenizer="owner/tok", cache_dir=tmp_path / "cache", device="cpu", **pins)
    assert model.model.fingerprint() == tiny_network().fingerprint()
    assert model.tokenizer.fingerprint() == tiny_tokenizer(7).fingerprint()


def test_offline(hub: Hub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    refused(
        lambda: Kronos.from_pretrained("owner/net", cache_dir=cache, local_files_only=True),
        "owner/net",
        "not in the local cache",
    )
    Kronos.from_pretrained("owner/net", cache_dir=cache)
    assert Kronos.from_pretrained("owner/net", cache_dir=cache, local_files_only=True).d_model == 16
    hub.stop()
    assert Kronos.from_pretrained("owner/net", cache_dir=cache).d_model == 16
    refused(lambda: Kronos.from_pretrained("owner/net", revision="v1", cache_dir=cache), "cannot be reached")


# The real one -------------------------------------------------------------------------------------------------------


@pytest.mark.hub
@pytest.mark.parametrize("rows", [256, 512])
def test_the_published_weights_own_numbers(shared: Path, rows: int) -> None:
    address = urlparse(huggingface_hub.constants.ENDPOINT)
    assert address.hostname is not None
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=3).close()
    except OSError as error:
        pytest.skip(f"the Hub cannot be reached ({error})")
    network = Kronos.from_pretrained(ZOO["small"].network or "", revision="901c26c1332695a2a8f243eb2f37243a37bea320")
    tokenizer = KronosTokenizer.from_pretrained(
        ZOO["small"].tokenizer, revision="0e0117387f39004a9016484a186a908917e22426"
    )
    predictor = kronos.KronosPredictor(network, tokenizer, device="cpu", max_context=512)
    bars = pd.read_csv(shared / "golden" / "bars.csv", parse_dates=["timestamps"])
    wanted = pd.read_csv(shared / "golden" / "hub" / f"regression_output_{rows}.csv", parse_dates=["timestamps"])
    times = bars["timestamps"]
    given = predictor.predict(
        bars.iloc[:rows], times[:rows], times[rows : rows + 8], 8, T=1.0, top_k=1, top_p=1.0, verbose=False
    )
    assert (given.index == wanted["timestamps"]).all()
    pd.testing.assert_frame_equal(
        given.reset_index(drop=True), wanted.drop(columns="timestamps"), rtol=1e-5, check_dtype=False
    )
