"""FAISS indexes of doc vectors by inner product: exact (flat), a graph (HNSW), or cells (IVF).

Douze et al., "The Faiss library", 2024. HNSW: Malkov and Yashunin, TPAMI 2020; a doc is linked to
others, and search walks along the links. IVF: docs are put into cells by k-means, and search looks
into the cells nearest to the query. FAISS keeps an index, vectors included, in main memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from math import ceil, sqrt
from typing import Any

import numpy as np

from evalkit.errors import ConfigError
from evalkit.scoring.vectors import widened

log = logging.getLogger(__name__)

KINDS = ("flat", "hnsw", "ivf")
_SEED = 1234
# k-means learns from at most so many docs a cell, and from less than the second it warns: FAISS's
# own bounds.
_MOST_A_CELL, _LEAST_A_CELL = 256, 39
# Cells searched unless nprobe says otherwise, times the root of all cells: the larger the corpus,
# the smaller the share that is needed.
_PROBED = 4


def faiss_library() -> Any:
    """The faiss package; ConfigError with the command that installs it."""
    try:
        return import_module("faiss")
    except ImportError as error:
        raise ConfigError(
            f'retriever faiss needs the package faiss ({error}); run: pip install "evalkit[faiss]"'
        ) from error


@dataclass(frozen=True)
class FaissSettings:
    """What an index is made of, and how it is searched; names as in `FaissRetriever`."""

    kind: str
    m: int
    ef_construction: int
    ef_search: int
    nlist: int | None
    nprobe: int | None
    build_threads: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"faiss: kind={self.kind}; expected one of {', '.join(KINDS)}")
        # A graph of one link a doc falls apart, and FAISS divides by its logarithm.
        least = {"m": 2, "ef_construction": 1, "ef_search": 1, "build_threads": 1}
        for name, bound in {**least, "nlist": 1, "nprobe": 1}.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ConfigError(f"faiss: {name}={value}; expected at least {bound}")
        if self.nlist is not None and self.nprobe is not None and self.nprobe > self.nlist:
            raise ConfigError(
                f"faiss: nprobe={self.nprobe} cells searched of nlist={self.nlist}; expected at "
                f"most {self.nlist}"
            )

    @property
    def of_build(self) -> dict[str, Any]:
        """Those on which the index depends."""
        names = {"hnsw": ("m", "ef_construction", "build_threads"), "ivf": ("nlist",)}
        return {name: getattr(self, name) for name in ("kind", *names.get(self.kind, ()))}

    @property
    def of_search(self) -> dict[str, Any]:
        """Those on which only what is found in it depends."""
        names = {"hnsw": ("ef_search",), "ivf": ("nprobe",)}
        return {name: getattr(self, name) for name in names.get(self.kind, ())}

    def cells(self, docs: int) -> int:
        """Cells of an IVF index: nlist, or 4 √docs, as FAISS's guidelines have it, but not so many
        that k-means has less than 39 docs for each. ConfigError for more than there are docs.

        github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index: 4 √N to 16 √N.
        """
        if self.nlist is None:
            return max(1, min(int(4 * sqrt(docs)), docs // _LEAST_A_CELL))
        if self.nlist > docs:
            raise ConfigError(
                f"faiss: nlist={self.nlist} cells for {docs:,} docs; expected at most {docs}, or "
                "nlist=null for the number that suits them"
            )
        return self.nlist

    def probes(self, docs: int) -> int:
        """Cells that are searched; ConfigError for more than there are."""
        cells = self.cells(docs)
        if self.nprobe is None:
            return min(cells, ceil(_PROBED * sqrt(cells)))
        if self.nprobe > cells:
            raise ConfigError(
                f"faiss: nprobe={self.nprobe} cells searched, and {docs:,} docs make {cells}; "
                f"expected at most {cells}"
            )
        return self.nprobe

    def check_depth(self, depth: int) -> None:
        """ConfigError if `depth` docs a query are more than a search of the graph holds."""
        if self.kind == "hnsw" and depth > self.ef_search:
            raise ConfigError(
                f"faiss: {depth} docs a query asked of a graph that is searched with ef_search="
                f"{self.ef_search}; set ef_search={depth} or more, or ask for fewer (sweep.k, "
                "sweep.depth, the measures' cutoffs)"
            )

    def check_docs(self, docs: int) -> None:
        """ConfigError for settings that do not fit so many docs."""
        if self.kind == "ivf":
            self.probes(docs)

    def recipe(self, docs: int) -> str:
        """What FAISS's index factory calls it."""
        return {"flat": "Flat", "hnsw": f"HNSW{self.m},Flat"}.get(
            self.kind, f"IVF{self.cells(docs)},Flat"
        )


def build_index(
    settings: FaissSettings,
    docs: int,
    width: int,
    chunks: Iterable[np.ndarray],
    gather: Callable[[np.ndarray], np.ndarray],
) -> Any:
    """An index of `docs` vectors. chunks: all of them, as stored. gather: those at some positions,
    as float32. The same vectors give the same index, unless several threads build a graph."""
    library = faiss_library()
    index = library.index_factory(width, settings.recipe(docs), library.METRIC_INNER_PRODUCT)
    if settings.kind == "ivf":
        cells = settings.cells(docs)
        if docs < _LEAST_A_CELL * cells:
            log.warning(
                "faiss: %d cells of %.1f docs on average; the centres are poor below %d",
                cells, docs / cells, _LEAST_A_CELL,
            )  # fmt: skip
        index.cp.seed, index.cp.max_points_per_centroid = _SEED, _MOST_A_CELL
        index.cp.min_points_per_centroid = 1  # FAISS warns past our log
        sample = np.arange(docs)
        if docs > _MOST_A_CELL * cells:
            choose = np.random.default_rng(_SEED).choice
            sample = np.sort(choose(docs, _MOST_A_CELL * cells, replace=False))
        index.train(gather(sample))
    if settings.kind == "hnsw":
        index.hnsw.efConstruction = settings.ef_construction
    with _threads(library, settings.build_threads if settings.kind == "hnsw" else None):
        for chunk in chunks:
            index.add(np.ascontiguousarray(widened(chunk)))
    return index


def prepare(index: Any, settings: FaissSettings, k: int) -> None:
    """Set how the index is searched for k docs a query.

    FAISS finds k docs with a smaller ef_search, too, but far from the best; one more than was
    checked for is asked where a query's own doc is left out.
    """
    if settings.kind == "ivf":
        index.nprobe = settings.probes(index.ntotal)
    if settings.kind == "hnsw":
        index.hnsw.efSearch = max(settings.ef_search, k)


@contextmanager
def _threads(library: Any, count: int | None) -> Iterator[None]:
    """So many threads, and the former number afterwards; None: as many as before."""
    before = library.omp_get_max_threads()
    library.omp_set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        library.omp_set_num_threads(before)


class Counted:
    """Counts the docs and centres that a query is compared with: `compared` after the block."""

    def __init__(self, index: Any, settings: FaissSettings, queries: int) -> None:
        counters = faiss_library().cvar
        self._stats = {"ivf": counters.indexIVF_stats, "hnsw": counters.hnsw_stats}.get(
            settings.kind
        )
        # Every query is compared with all docs of a flat index, and with all centres of an IVF one.
        whole = {"flat": index.ntotal, "hnsw": 0}
        self.compared = queries * whole.get(settings.kind, getattr(index, "nlist", 0))

    def __enter__(self) -> Counted:
        if self._stats is not None:
            self._stats.reset()
        return self

    def __exit__(self, *error: object) -> None:
        if self._stats is not None:
            self.compared += int(self._stats.ndis)
