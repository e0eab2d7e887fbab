"""Exact search: the k docs with the highest dot product, over a corpus that is read in chunks.

A matrix product scores a chunk, and only chooses: what may be among the best k is scored again by
`similarity`, so that neither the device, nor the chunk size, nor a doc's place can change a score
or break a tie. A plain top k would not do that, and sorts far more than it needs: here a first pass
takes the maxima of small groups of docs, whose k-th is a bound that at least k docs reach, and only
groups with a maximum above that bound are looked into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.errors import ScoreError
from evalkit.scoring.vectors import as_tensor, widened

if TYPE_CHECKING:
    import torch

# Queries whose scores of a chunk are in memory at a time.
_QUERY_BLOCK = 256
# Docs whose maximum is taken at a time, at most: larger ones leave less to sort, but too few of
# them make a poor bound, so that there are at least so many times k.
_LARGEST_GROUP = 64
_GROUPS_PER_K = 8
# Pairs that are scored again at a time: few enough for a processor's cache to hold their vectors.
_PAIR_BLOCK = 1024
# Half the distance from 1 to the next float32.
_UNIT_ROUNDING = 2.0**-24
# What TF32 and bfloat16 passes lose at most in a product, where torch was told to use them.
_FAST_ROUNDING = 2.0**-7


class Chunk(NamedTuple):
    """n docs in order, shape (n, h): as stored (see `vectors`), and the same on a device. longest:
    the length of the longest, None where it is not known yet."""

    stored: np.ndarray
    on_device: torch.Tensor
    longest: float | None = None


class Nearest(NamedTuple):
    """The best docs of each query, best first, shape (Q, k).

    docs: int64, positions in the corpus, -1 behind the last. scores: float32, -inf there.
    """

    docs: np.ndarray
    scores: np.ndarray


def similarity(queries: np.ndarray, docs: np.ndarray) -> np.ndarray:
    """Row by row dot products: float32, shape (n,), summed in float64.

    A matrix product rounds equal docs differently at different places; this does not, so that
    equal texts tie and a score depends on nothing but its two texts.
    """
    return np.einsum("ij,ij->i", queries, docs, dtype=np.float64).astype(np.float32)


def similarity_of(
    queries: np.ndarray, docs: np.ndarray, rows: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """`similarity` of queries[rows] and stored docs[positions], a block at a time: float32."""
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _PAIR_BLOCK):
        part = slice(start, start + _PAIR_BLOCK)
        scores[part] = similarity(queries[rows[part]], widened(docs[positions[part]]))
    return scores


def exact_search(
    queries: np.ndarray, chunks: Iterable[np.ndarray], k: int, order: np.ndarray, device: str
) -> Nearest:
    """The k best docs of each query. queries: float32, shape (Q, h). chunks: the corpus's vectors
    as stored, in order; order: each doc's place when ids are sorted, shape (docs,)."""
    search = ExactSearch(queries, k, order)
    for chunk in ahead(chunks, device):
        search.add(chunk)
    return search.best


def ahead(chunks: Iterable[np.ndarray], device: str) -> Iterator[Chunk]:
    """Each chunk, while the next one is read from disk and copied to the device.

    On CUDA the copy is from pinned memory, on a stream of its own: beside what is computed. At
    most three chunks are in memory.
    """
    upload = _CudaUpload(device) if device.startswith("cuda") else _Upload(device)
    source = iter(chunks)

    def load() -> tuple[Chunk, Any] | None:
        stored = next(source, None)
        return None if stored is None else upload.start(np.ascontiguousarray(stored))

    with ThreadPoolExecutor(1, thread_name_prefix="evalkit-chunks") as reader:
        coming = reader.submit(load)
        while (loaded := coming.result()) is not None:
            coming = reader.submit(load)
            yield upload.finish(*loaded)


def resident(chunks: Iterable[np.ndarray], device: str) -> list[Chunk]:
    """All chunks in memory and on the device, for many searches of a query or a few each."""
    return [
        chunk._replace(longest=_longest(chunk.on_device.float()))
        for chunk in ahead(chunks, device)
        if len(chunk.stored)
    ]


class _Upload:
    """Chunks to a device that has no streams of its own, or to none."""

    def __init__(self, device: str) -> None:
        self.device = device

    def start(self, stored: np.ndarray) -> tuple[Chunk, Any]:
        return Chunk(stored, as_tensor(stored).to(self.device)), None

    def finish(self, chunk: Chunk, copied: Any) -> Chunk:
        return chunk


class _CudaUpload(_Upload):
    def __init__(self, device: str) -> None:
        import torch

        super().__init__(device)
        self.stream = torch.cuda.Stream(device)

    def start(self, stored: np.ndarray) -> tuple[Chunk, Any]:
        import torch

        pinned = as_tensor(stored).pin_memory()
        with torch.cuda.stream(self.stream):
            copied = pinned.to(self.device, non_blocking=True)
            return Chunk(stored, copied), self.stream.record_event()

    def finish(self, chunk: Chunk, copied: Any) -> Chunk:
        import torch

        current = torch.cuda.current_stream(self.device)
        current.wait_event(copied)
        # Memory of the copy's stream must not be given away while this one still reads it.
        chunk.on_device.record_stream(current)
        return chunk


class ExactSearch:
    """The best k docs so far of each query; `best` after all chunks were added, in order.

    queries: float32, shape (Q, h). order: int, shape (docs,), each doc's place when ids are sorted
    ascending: among equal scores the higher id wins.
    """

    def __init__(self, queries: np.ndarray, k: int, order: np.ndarray) -> None:
        self.queries, self.order, self.k = queries, order, min(k, len(order))
        shape = len(queries), self.k
        self.best = Nearest(np.full(shape, -1), np.full(shape, -np.inf, dtype=np.float32))
        self._start = 0
        self._buffer: torch.Tensor | None = None

    def add(self, chunk: Chunk) -> None:
        """Merge the docs that follow those of the chunk before."""
        import torch

        start, self._start = self._start, self._start + len(chunk.stored)
        if self.k == 0 or len(chunk.stored) == 0:
            return
        with torch.inference_mode():
            docs = chunk.on_device.float()
            longest = _longest(docs) if chunk.longest is None else chunk.longest
            for first in range(0, len(self.queries), _QUERY_BLOCK):
                block = self.queries[first : first + _QUERY_BLOCK]
                rows, near = self._candidates(block, docs, longest, first)
                scores = similarity_of(block, chunk.stored, rows, near)
                self._merge(rows + first, near + start, scores)

    def _candidates(
        self, block: np.ndarray, docs: torch.Tensor, longest: float, first: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(query, doc) positions in block and chunk, int64, of all pairs that may be among the
        best k: those whose computed score is at most twice its rounding below a bound."""
        import torch

        queries = torch.from_numpy(block).to(docs.device)
        running = torch.from_numpy(self.best.scores[first : first + len(block), -1])
        lengths = np.linalg.norm(block.astype(np.float64), axis=1)
        _refuse_overflow(lengths.max() * longest)
        margin = (2 * longest * rounding(docs.shape[1]) * lengths).astype(np.float32)
        scores = torch.mm(queries, docs.T, out=self._room(len(block), docs))
        grouped, maxima = _grouped(scores, self.k)
        bound = maxima.topk(min(self.k, maxima.shape[1]), dim=1).values[:, -1]
        bound = torch.maximum(bound, running.to(docs.device))
        least = (bound - torch.from_numpy(margin).to(docs.device))[:, None]
        rows, groups = (maxima >= least).nonzero(as_tuple=True)
        pair, member = (grouped[rows, :, groups] >= least[rows]).nonzero(as_tuple=True)
        near = member * maxima.shape[1] + groups[pair]
        return rows[pair].cpu().numpy(), near.cpu().numpy()

    def _room(self, queries: int, docs: torch.Tensor) -> torch.Tensor:
        """Where the scores of a block go, shape (queries, docs); one place for all, as new memory
        would cost a processor a quarter of the product's time."""
        import torch

        size = queries * len(docs)
        if self._buffer is None or self._buffer.numel() < size:
            self._buffer = torch.empty(size, dtype=docs.dtype, device=docs.device)
        return self._buffer[:size].view(queries, len(docs))

    def _merge(self, rows: np.ndarray, docs: np.ndarray, scores: np.ndarray) -> None:
        """Take n scored docs into the best of their queries; rows: their queries, ascending."""
        if not len(rows):
            return
        block = slice(int(rows[0]), int(rows[-1]) + 1)
        held = self.best.docs[block] >= 0
        rows = np.concatenate([np.nonzero(held)[0], rows - block.start])
        docs = np.concatenate([self.best.docs[block][held], docs])
        scores = np.concatenate([self.best.scores[block][held], scores])
        by_rank = np.lexsort((-self.order[docs], -scores, rows))
        rows = rows[by_rank]
        ranks = np.arange(len(rows)) - np.searchsorted(rows, rows)
        kept = ranks < self.k
        at = rows[kept] + block.start, ranks[kept]
        self.best.docs[at] = docs[by_rank][kept]
        self.best.scores[at] = scores[by_rank][kept]


def _longest(docs: torch.Tensor) -> float:
    import torch

    return float(torch.linalg.vector_norm(docs, dim=1).max())


def _grouped(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores as (Q, size, groups) and the groups' maxima, (Q, groups); -inf fills the last.

    Doc i is member i // groups of group i % groups: neighbours, which are often alike, are in
    different groups, so that few groups hold two of the best.
    """
    import torch

    docs = scores.shape[1]
    size = min(_LARGEST_GROUP, max(1, docs // (_GROUPS_PER_K * k)))
    groups = -(-docs // size)
    if size * groups > docs:
        scores = torch.nn.functional.pad(scores, (0, size * groups - docs), value=-torch.inf)
    grouped = scores.view(-1, size, groups)
    return grouped, grouped.amax(dim=1)


def _refuse_overflow(largest: float) -> None:
    """ScoreError where a float32 cannot hold the largest dot product that may occur."""
    if not largest <= np.finfo(np.float32).max:
        raise ScoreError(
            f"a dot product of the model's vectors may reach {largest:.3g}, above float32; use a "
            "model whose vectors are normalised, or similarity=cosine"
        )


def rounding(width: int) -> float:
    """What a float32 dot product of `width` terms loses at most, times the vectors' lengths.

    Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1: n u in whatever
    order it is summed; a few more for the norms, and for the difference that this is used in.
    """
    import torch

    try:
        exact = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # what torch answers where a back end was set apart from the others
        exact = False
    return (width + 8) * _UNIT_ROUNDING + (0.0 if exact else _FAST_ROUNDING)
