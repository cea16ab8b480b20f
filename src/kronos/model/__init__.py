"""The network: tensors in, tensors out; weights and their names. It runs without pandas."""

from kronos.model.cache import Cache
from kronos.model.network import Kronos
from kronos.model.tokenizer import KronosTokenizer
from kronos.model.zoo import ZOO, Pair, ZooEntry, check_pair, context_of, load_pair

__all__ = ["ZOO", "Cache", "Kronos", "KronosTokenizer", "Pair", "ZooEntry", "check_pair", "context_of", "load_pair"]
