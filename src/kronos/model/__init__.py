"""The network: tensors in, tensors out; weights and their names. It runs without pandas."""

from kronos.model.cache import Cache, CacheShape, Place
from kronos.model.folded import PRECISIONS, FoldedKronos, FoldedTokenizer, Precision, version_of
from kronos.model.network import Kronos
from kronos.model.tokenizer import KronosTokenizer
from kronos.model.zoo import ZOO, Pair, ZooEntry, check_pair, context_of, load_pair

__all__ = [
    "PRECISIONS",
    "ZOO",
    "Cache",
    "CacheShape",
    "FoldedKronos",
    "FoldedTokenizer",
    "Kronos",
    "KronosTokenizer",
    "Pair",
    "Place",
    "Precision",
    "ZooEntry",
    "check_pair",
    "context_of",
    "load_pair",
    "version_of",
]
