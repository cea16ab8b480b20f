"""What the tests compare against: tiny networks built in code, and slow, obvious versions of the fast things.

Nothing here is clever. Generation recomputes every window, series by series and path by path; the sampler is numpy in
float64; the network is written a second time from its specification, from the weights alone.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kronos.compiling import can_build
from kronos.forecast.backends import Backend, make_backend
from kronos.forecast.backends.eager import EagerBackend
from kronos.forecast.sampling import uniform_numbers
from kronos.model import Kronos, KronosTokenizer

BACKENDS = [
    "torch",
    "replayed",
    *(["native"] if can_build() else []),
    *(["onnx"] if find_spec("onnxruntime") else []),
]
"""What runs the networks here; "replayed" is torch with the step of an accelerator."""


def backend_of(name: str, network: Kronos, tokenizer: KronosTokenizer, precision: str = "float32") -> Backend:
    """A backend by its name here."""
    if name == "replayed":
        return EagerBackend(network, tokenizer, precision, replays=True)
    return make_backend(name, network, tokenizer, precision)


NO_DROPOUT = {"ffn_dropout_p": 0.0, "attn_dropout_p": 0.0, "resid_dropout_p": 0.0}
TRAINED = {"sibling_form": "trained", "stamp_of": "next", "clock": "utc"}


def tiny_tokenizer(seed: int = 0, *, layers: int = 2, bits: tuple[int, int] = (5, 5), **own: Any) -> KronosTokenizer:
    """A small random tokenizer in evaluation mode."""
    torch.manual_seed(seed)
    tokenizer = KronosTokenizer(
        d_in=6,
        d_model=16,
        n_heads=2,
        ff_dim=24,
        n_enc_layers=layers,
        n_dec_layers=layers,
        **NO_DROPOUT,
        s1_bits=bits[0],
        s2_bits=bits[1],
        beta=0.05,
        gamma0=1.0,
        gamma=1.1,
        zeta=0.05,
        group_size=5,
        **own,
    )
    return tokenizer.eval().requires_grad_(False)


def tiny_network(seed: int = 0, *, bits: tuple[int, int] = (5, 5), **changes: Any) -> Kronos:
    """A small random network in evaluation mode, its logits spread enough that greedy choices are clear."""
    torch.manual_seed(1000 + seed)
    config = {
        "s1_bits": bits[0],
        "s2_bits": bits[1],
        "n_layers": 2,
        "d_model": 16,
        "n_heads": 2,
        "ff_dim": 24,
        **NO_DROPOUT,
        "token_dropout_p": 0.0,
        "learn_te": True,
    }
    network = Kronos(**(config | changes))
    with torch.no_grad():
        for weight in (network.head.proj_s1.weight, network.head.proj_s2.weight):
            weight *= 3.0
        network.dep_layer.cross_attn.out_proj.weight.mul_(2.0)  # let the fine token depend on the coarse one
    return network.eval().requires_grad_(False)


def bars_frame(rows: int, *, seed: int = 0, freq: str = "1h", start: str = "2024-03-04", tz: Any = None) -> Any:
    """Valid random candles with volume and amount, as a frame over a DatetimeIndex."""
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(rng.normal(0, 0.01, rows).cumsum())
    open_ = np.r_[50.0, close[:-1]] * np.exp(rng.normal(0, 0.002, rows))
    high = np.maximum(open_, close) * np.exp(rng.exponential(0.003, rows))
    low = np.minimum(open_, close) * np.exp(-rng.exponential(0.003, rows))
    volume = rng.lognormal(4, 0.5, rows)
    amount = volume * (open_ + high + low + close) / 4 * np.exp(rng.normal(0, 0.001, rows))
    index = pd.date_range(start, periods=rows, freq=freq, tz=tz, name="timestamp")
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": volume, "amount": amount}
    return pd.DataFrame(columns, index=index)


def random_stamps(rng: np.random.Generator, series: int, length: int) -> Tensor:
    """Stamps with no pattern: every one taken from a wrong bar would be seen."""
    tops = np.array([60, 24, 7, 31, 12])
    return torch.from_numpy(rng.integers(0, tops, (series, length, 5)) + np.array([0, 0, 0, 1, 1]))


# Sampling -----------------------------------------------------------------------------------------------------------


def slow_probabilities(logits: Any, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Any:
    """Probabilities of one row of logits: temperature, then the k largest, then the smallest set that reaches p."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if top_k:
        kth = np.sort(scaled)[::-1][min(top_k, len(scaled)) - 1]
        scaled = np.where(scaled >= kth, scaled, -np.inf)
    odds = np.exp(scaled - scaled.max())
    odds /= odds.sum()
    if top_p < 1:
        kept, mass = [], 0.0
        for token in np.argsort(-odds, kind="stable"):
            if mass > top_p:
                break
            kept.append(token)
            mass += odds[token]
        odds = np.where(np.isin(np.arange(len(odds)), kept), odds, 0.0)
        odds /= odds.sum()
    return odds


def slow_choice(logits: Any, uniform: float, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> int:
    """The first token whose cumulative probability passes `uniform`."""
    cumulative = slow_probabilities(logits, temperature, top_k, top_p).cumsum()
    return int(np.argmax(cumulative > uniform * cumulative[-1]))


# Generation ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def slow_tokens(
    network: Kronos,
    s1: Tensor,
    s2: Tensor,
    stamps: Tensor,
    keys: Sequence[int],
    paths: int,
    max_context: int,
    seed: int = 0,
    *,
    slide: bool = False,
    **sampling: Any,
) -> tuple[Tensor, Tensor]:
    """Two of (N, paths, H): the network asked for one bar after another, each time from the whole window."""
    series, length = s1.shape
    horizon = stamps.shape[1] - length
    ahead = 1 if network.stamp_of == "next" else 0
    uniforms = uniform_numbers(seed, keys, range(paths), horizon)
    written = torch.empty(2, series, paths, horizon, dtype=torch.long)
    for n in range(series):
        for path in range(paths):
            coarse, fine = s1[n].tolist(), s2[n].tolist()
            for step in range(horizon):
                count = len(coarse)
                first = 0 if slide else max(count - max_context, 0)
                window = [torch.tensor([column[first:]]) for column in (coarse, fine)]
                stamp = stamps[n : n + 1, first + ahead : count + ahead]
                u1, u2 = uniforms[n, path, step]
                if slide:
                    context = banded_context(network, *window, stamp, max_context)
                    chosen = slow_choice(network.head.proj_s1(context)[0, -1], u1, **sampling)
                    logits2 = banded_fine(network, context, chosen, max_context)
                else:
                    logits1, context = network.decode_s1(*window, stamp)
                    chosen = slow_choice(logits1[0, -1], u1, **sampling)
                    logits2 = network.decode_s2(context, torch.tensor([[chosen]]))[0, -1]
                coarse.append(chosen)
                fine.append(slow_choice(logits2, u2, **sampling))
            written[0, n, path] = torch.tensor(coarse[length:])
            written[1, n, path] = torch.tensor(fine[length:])
    return written[0], written[1]


@torch.no_grad()
def slow_bars(
    tokenizer: KronosTokenizer, s1: Tensor, s2: Tensor, new1: Tensor, new2: Tensor, max_context: int
) -> Tensor:
    """(N, paths, H, 6): every path decoded alone; a horizon beyond max_context in windows that overlap by half."""
    horizon = new1.shape[-1]
    stride = horizon if horizon <= max_context else max(max_context // 2, 1)
    rows = []
    for n in range(len(s1)):
        for path in range(new1.shape[1]):
            whole = [torch.cat([old[n], new[n, path]]) for old, new in ((s1, new1), (s2, new2))]
            pieces = []
            for first in range(0, horizon, stride):
                stop = s1.shape[1] + min(first + stride, horizon)
                window = [column[max(stop - max_context, 0) : stop][None] for column in whole]
                wanted = min(first + stride, horizon) - first
                pieces.append(tokenizer.decode(window, half=True)[0, -wanted:])
            rows.append(torch.cat(pieces))
    return torch.stack(rows).view(len(s1), new1.shape[1], horizon, -1)


# The network once more, from the weights alone ----------------------------------------------------------------------


def _linear(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    out = x @ weights[f"{name}.weight"].T
    return out + weights[f"{name}.bias"] if f"{name}.bias" in weights else out


def _norm(weight: Tensor, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def _turn(x: Tensor, positions: Tensor) -> Tensor:
    """Rotate (T, heads, head_dim): entry i of the first half with entry i of the second."""
    half = x.shape[-1] // 2
    angles = positions[:, None, None] * 10000.0 ** -(torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
    """(Q, heads, e), (T, heads, e), (T, heads, e), (Q, T) -> (Q, heads * e)."""
    scores = torch.einsum("qhe,khe->hqk", queries, keys) / queries.shape[-1] ** 0.5
    weights = scores.masked_fill(~visible, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khe->qhe", weights, values).flatten(1)


def _band(length: int, width: int) -> Tensor:
    """(T, T): a bar sees itself and the width - 1 bars before it."""
    age = torch.arange(length)[:, None] - torch.arange(length)
    return (age >= 0) & (age < width)


def banded_context(network: Kronos, s1: Tensor, s2: Tensor, stamp: Tensor, width: int) -> Tensor:
    """Context (1, T, d) of one series where no bar sees more than `width` bars, at positions counted from the start."""
    w, config = network.state_dict(), network.config
    d, heads = config["d_model"], config["n_heads"]
    pair = torch.cat([w["embedding.emb_s1.weight"][s1[0]], w["embedding.emb_s2.weight"][s2[0]]], -1) * d**0.5
    x = _linear(w, "embedding.fusion_proj", pair)
    tables = [f"time_emb.{field}_embed" for field in ("minute", "hour", "weekday", "day", "month")]
    for column, table in enumerate(tables):
        table += ".weight" if config["learn_te"] else ".emb.weight"
        x = x + w[table][stamp[0, :, column].long()]
    positions, visible = torch.arange(len(x)), _band(len(x), width)
    for layer in range(config["n_layers"]):
        name = f"transformer.{layer}"
        h = _norm(w[f"{name}.norm1.weight"], x)
        q, k, v = (_linear(w, f"{name}.self_attn.{p}_proj", h).view(len(x), heads, -1) for p in "qkv")
        mixed = _attend(_turn(q, positions), _turn(k, positions), v, visible)
        x = x + _linear(w, f"{name}.self_attn.out_proj", mixed)
        h = _norm(w[f"{name}.norm2.weight"], x)
        gate = torch.nn.functional.silu(_linear(w, f"{name}.ffn.w1", h)) * _linear(w, f"{name}.ffn.w3", h)
        x = x + _linear(w, f"{name}.ffn.w2", gate)
    return _norm(w["norm.weight"], x)[None]


def banded_fine(network: Kronos, context: Tensor, s1: int, width: int) -> Tensor:
    """Fine logits of the bar after the last, given its coarse token, over the last `width` bars' contexts."""
    w, h = network.state_dict(), context[0, -width:]
    name, length = "dep_layer.cross_attn", context.shape[1]
    query = _linear(w, f"{name}.q_proj", w["embedding.emb_s1.weight"][[s1]]).view(1, 4, -1)
    keys, values = (_linear(w, f"{name}.{p}_proj", h).view(len(h), 4, -1) for p in "kv")
    if network.sibling_form == "trained":
        query = _turn(query, torch.tensor([length - 1]))
        keys = _turn(keys, torch.arange(length - len(h), length))
    mixed = _attend(query, keys, values, torch.ones(1, len(h), dtype=torch.bool))
    merged = _norm(w["dep_layer.norm.weight"], h[-1:] + _linear(w, f"{name}.out_proj", mixed))
    return _linear(w, "head.proj_s2", merged)[0]
