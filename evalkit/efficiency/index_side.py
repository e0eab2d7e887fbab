"""What an index cost to build, and what it takes on disk.

Time and memory can be told only while an index is built. They are kept in a file beside it, so that
a run which finds the index in the cache reports them too; of an index without that file they are
not known, and nothing is made up.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

from evalkit.efficiency.index_storage import place_of, size_of, texts_held, tokens_of
from evalkit.errors import DataError
from evalkit.io import read_json, write_json
from evalkit.retrievers.remembering import inner
from evalkit.types import Dataset, Retriever

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# What clear_refs takes to set the high-water mark back to what is resident now; see proc(5).
_RESET_PEAK = "5"

# Those whose index was not found in the cache; retrievers are made anew for each run.
_built: WeakSet[Retriever] = WeakSet()


def build_index(name: str, retrievers: Mapping[str, Retriever], dataset: Dataset) -> None:
    """`retriever.index(dataset)`; where that builds something, its cost is kept beside the index.

    retrievers: all by name, those that are only parts of others too. What a retriever uses is
    indexed before it, so that no index is charged with another one's.
    """
    retriever = inner(retrievers[name])
    for part in getattr(retriever, "uses", ()):
        if part in retrievers:
            build_index(part, retrievers, dataset)
    place = place_of(retriever, dataset)
    if place is None or retriever.is_cached(dataset):
        retrievers[name].index(dataset)
        return
    held = texts_held(retriever)
    memory = PeakMemory()
    start = time.perf_counter()
    retrievers[name].index(dataset)
    seconds = time.perf_counter() - start
    measured = memory.read()
    now_held = texts_held(retriever)
    record = {
        "seconds": round(seconds, 3),
        **measured,
        "tokens": tokens_of(retriever, dataset),
        "num_docs": dataset.num_docs,
        "texts_encoded": None if held is None or now_held is None else now_held - held,
        "built_at": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    write_json(_record_path(place), record)
    _built.add(retriever)


def index_section(retrievers: Mapping[str, Retriever], dataset: Dataset) -> list[dict[str, Any]]:
    """A row a retriever, plain JSON data; every index is there. See `build_index`.

    A row holds built (in this run), seconds, bytes, peak_rss_bytes, tokens, num_docs, bytes_per_doc
    and a note; what is not known is None. peak_rss_bytes is of the whole process, with what it held
    before (`rss_before_bytes`).
    """
    return [_row(name, inner(part), dataset) for name, part in retrievers.items()]


def _row(name: str, retriever: Retriever, dataset: Dataset) -> dict[str, Any]:
    row: dict[str, Any] = {
        "retriever": name,
        "built": False,
        "seconds": None,
        "bytes": None,
        "peak_rss_bytes": None,
        "tokens": None,
        "num_docs": dataset.num_docs,
        "bytes_per_doc": None,
    }
    place = place_of(retriever, dataset)
    if place is None:
        uses = ", ".join(getattr(retriever, "uses", ()))
        note = f"no index of its own; it uses {uses}" if uses else "it keeps no index"
        return {**row, "note": note}
    size = size_of(retriever, dataset)
    row |= {"bytes": size.total, "bytes_per_doc": size.total / dataset.num_docs, **size.parts}
    path = _record_path(place)
    if not path.is_file():
        return {
            **row,
            "note": "built before time, memory and tokens were recorded; a new cache_dir builds it "
            "again",
        }
    record = _read(path)
    built = retriever in _built
    row |= {"built": built, **{key: record[key] for key in record if key != "num_docs"}}
    return {**row, "note": _note(record, built)}


def _note(record: Mapping[str, Any], built: bool) -> str:
    parts = [f"memory: {record['memory']}"]
    if not built:
        parts.insert(0, f"from the cache, built {record['built_at']}")
    encoded = record["texts_encoded"]
    if encoded is not None and encoded < record["num_docs"]:
        parts.append(
            f"{encoded:,} texts were encoded for {record['num_docs']:,} docs; equal texts, and "
            "those that another component had encoded, cost nothing"
        )
    return "; ".join(parts)


def _read(path: Path) -> dict[str, Any]:
    record = read_json(path)
    expected = {"seconds", "peak_rss_bytes", "memory", "tokens", "texts_encoded", "num_docs"}
    if not isinstance(record, dict) or not expected <= set(record):
        raise DataError(f"{path}: not what evalkit writes; delete this file, the index is sound")
    return record


def _record_path(place: Path) -> Path:
    return place.with_name(f"{place.name}.build.json")


class PeakMemory:
    """The most memory that was resident in this process since this was made.

    Linux keeps a high-water mark that can be set back: exact, and at no cost. Elsewhere there is
    one of the process's whole life, which tells something only where it rose meanwhile.
    """

    def __init__(self) -> None:
        self._exact = _reset_peak()
        self._before = _resident() if self._exact else None
        self._life = _life_peak()

    def read(self) -> dict[str, Any]:
        """peak_rss_bytes, rss_before_bytes (None: not known) and memory, how it was measured."""
        if self._exact:
            how = "resident set of the process, high-water mark of the kernel (VmHWM)"
            peak: int | None = _status_bytes("VmHWM")
        else:
            peak, how = _life_peak(), "resident set of the process, highest of its life (getrusage)"
            if peak is None or self._life is None:
                peak, how = None, "not known: this system keeps no high-water mark"
            elif peak <= self._life:
                peak, how = None, f"not known: below the {self._life:,} bytes taken before"
        return {"peak_rss_bytes": peak, "rss_before_bytes": self._before, "memory": how}


def _reset_peak() -> bool:
    """False where there is no such mark, or a container does not let a process set it back."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _resident() -> int:
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise DataError(f"{_STATUS} has no {key}; report this, with the system's name")


def _life_peak() -> int | None:
    """In bytes; None where the system has no such call, as Windows."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
