"""Several processes as one run: who this one is, what they tell each other, and who speaks when they fail.

Started by `torchrun --nproc-per-node N -m kronos train ...`, every process finds its number in the environment. Each
reads the batches of its own number; gradients are averaged, figures are reduced, and only the first one writes.
"""

import atexit
import itertools
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from kronos.errors import ConfigError, KronosError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

_meetings = itertools.count()  # all processes have the same ones in the same order

_PATIENCE = timedelta(hours=2)  # the others wait while the first one scores rollouts
_COURTESY = timedelta(seconds=2)  # what fails everywhere is left to the first process to say
_LINGER = timedelta(seconds=10)  # a launcher kills all when one has ended: that must be the one that has said why

_SPEAKS, _SAID = "speaks", "said"  # keys of the store


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run; by default it is alone."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def totals(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The sums of figures over all processes, which must all have the same ones."""
        if self.count == 1:
            return dict(figures)
        values = torch.tensor(list(figures.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(values)
        return dict(zip(figures, values.tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether it is so for any process."""
        return self.totals({"flag": float(flag)})["flag"] > 0

    def told(self, value: T) -> T:
        """What the first process says; the others' own values do not count."""
        if self.count == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        told: T = box[0]
        return told

    def alike(self, network: nn.Module) -> None:
        """Give the network of every process the first one's weights."""
        if self.count > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def joined(device: str | None = None) -> Iterator[Ranks]:
    """The processes of this run, met and let go again; alone where no launcher has started several.

    Where several fail, one of them says why, the first one if it is among them; the others end without a word, by
    SystemExit.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "RANK" not in os.environ:
        yield Ranks(device=_device(device))
        return
    rank, store = int(os.environ["RANK"]), _met(count)
    with warnings.catch_warnings():
        if rank:
            warnings.simplefilter("ignore")  # the first one warns of the same
        try:
            yield _entered(store, rank, count, device)
        except (Exception, KeyboardInterrupt) as error:
            if not _speaks(store, rank):
                with suppress(dist.DistError):
                    store.wait([_SAID], _LINGER)
                raise SystemExit(1) from None
            atexit.register(store.set, _SAID, "")
            if not _is_loss(error):
                raise
            raise KronosError(
                "another process of this run has ended before its time; the same command goes on from the last "
                "checkpoint"
            ) from error
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


def _met(count: int) -> "Store":
    """What all processes of the run can write to and read, each meeting in a part of its own."""
    from torch.distributed.distributed_c10d import PrefixStore

    try:
        store = _store(os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT"))
    except ValueError as error:  # one of them is missing
        reason = str(error).rpartition(": ")[2]
        raise ConfigError(
            f"WORLD_SIZE says that there are {count} processes, but they cannot meet ({reason}); start them by torchrun"
        ) from error
    return PrefixStore(f"kronos/{next(_meetings)}", store)


@cache
def _store(address: str | None, port: str | None) -> "Store":
    """Opened once: where the first process keeps it, closing it while others come back to it would lose them."""
    from torch.distributed.rendezvous import rendezvous

    store: Store = next(iter(rendezvous("env://")))[0]
    return store


def _entered(store: "Store", rank: int, count: int, device: str | None) -> Ranks:
    """This process, in the group."""
    mine = _device(device, int(os.environ.get("LOCAL_RANK", rank)))
    gpu = mine if mine.type == "cuda" else None
    if gpu is not None:
        torch.cuda.set_device(gpu)
    dist.init_process_group(
        "gloo" if gpu is None else "nccl",
        store=store,
        rank=rank,
        world_size=count,
        timeout=_PATIENCE,
        device_id=gpu,
    )
    return Ranks(rank, count, mine)


def _speaks(store: "Store", rank: int) -> bool:
    """Whether this process, which fails, is the one to say why."""
    name = str(rank)
    try:
        if rank:
            with suppress(dist.DistStoreError):  # time is up
                store.wait([_SPEAKS], _COURTESY)
        return bool(store.compare_set(_SPEAKS, "", name) == name.encode())
    except dist.DistError:  # the store is gone, and with it whoever could have spoken
        return True


def _is_loss(error: BaseException) -> bool:
    """Whether it says no more than that another process does not answer."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def _device(name: str | None, local: int | None = None) -> torch.device:
    """The device of one process: the one named, else a GPU, else the processor.

    Of several processes on a machine, `local` is this one's number there and its GPU's.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = name or next(kind for kind, usable in there.items() if usable)
    try:
        device = torch.device(name)
        if local is not None:
            _refuse_sharing(device, local)
        if str(device) == "cuda":
            device = torch.device("cuda", local or 0)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device '{name}' cannot be used ({reason}); name cpu, cuda or mps") from error
    return device


def _refuse_sharing(device: torch.device, local: int) -> None:
    if device.type == "mps":
        raise ConfigError("several processes cannot share Apple's GPU; run one, or use --device cpu")
    if str(device).startswith("cuda:"):
        raise ConfigError(f"several processes cannot share {device}; use --device cuda, and each has a GPU of its own")
    count = torch.cuda.device_count()
    if device.type == "cuda" and 0 < count <= local:
        raise ConfigError(f"this machine has {count} GPUs, too few for a process number {local + 1}; start {count}")
