"""Doc vectors in memory before times are taken, as in a service, which reads its index once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evalkit.efficiency.index_storage import Encoded, vector_bytes
from evalkit.models import resolve_device
from evalkit.retrievers.remembering import inner
from evalkit.retrievers.sparse import SparseRetriever
from evalkit.types import Retriever

_MEMINFO = Path("/proc/meminfo")
# Of the memory that is free: models, and whatever else runs, need the rest.
_SHARE = 0.5
# An inverted index of weights as float64 takes about twice what its terms take on disk.
_POSTINGS = 2


def hold_vectors(retrievers: Mapping[str, Retriever]) -> None:
    """Let every encoded retriever hold what it searches, if that fits half of the free memory.

    Those whose vectors do not fit read them for each query, and `places` says so.
    """
    for part in map(inner, retrievers.values()):
        if isinstance(part, Encoded) and not part.holds and fits(part):
            part.hold()


def fits(retriever: Retriever) -> bool:
    """Whether the docs' vectors fit the memory that may be taken; an index is there."""
    if not isinstance(retriever, Encoded):
        return True
    needed = vector_bytes(retriever)
    if isinstance(retriever, SparseRetriever):
        needed *= _POSTINGS
    device = resolve_device(retriever.encoder.device)
    return needed <= _SHARE * min(_free(), _free_on(device))


def places(retrievers: Mapping[str, Retriever]) -> dict[str, str]:
    """Where searches find the doc vectors of each retriever that has any: "memory" or "disk"."""
    encoded = {name: inner(part) for name, part in retrievers.items()}
    return {
        name: "memory" if part.holds else "disk"
        for name, part in encoded.items()
        if isinstance(part, Encoded)
    }


def _free() -> float:
    """Bytes that this machine can give without swapping; without limit where it does not say."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:  # macOS, Windows
        return float("inf")
    sizes = (line.split() for line in lines)  # such as "MemAvailable:   123456 kB"
    found = {words[0]: int(words[1]) * 1024 for words in sizes}
    return float(found.get("MemAvailable:", found["MemTotal:"]))


def _free_on(device: str) -> float:
    """Bytes that are free on a CUDA device; without limit for any other, as it is the machine's."""
    if not device.startswith("cuda"):
        return float("inf")
    import torch

    return float(torch.cuda.mem_get_info(device)[0])
