"""Exact search of generated unit vectors: ours against what one would write or install instead.

    python experiments/benchmarks/dense_search.py --docs 200000 --queries 500 --k 100 --device cuda

Every competitor starts from float32 docs in main memory and ends with positions and scores there,
so that on CUDA the copy to the device counts for those who make it. Runs alternate, the fastest of
each counts; the processor's time is shown beside it, as others may use the machine too. All must
find the same: a doc that ours has not, or the other way round, may differ from the k-th best by
rounding only. numpy and FAISS stay on the CPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time

import faiss
import numpy as np
import torch
from sentence_transformers import util

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evalkit.scoring.search import exact_search, similarity
from evalkit.scoring.vectors import STORAGES, narrowed, widened

# What float32 products of unit vectors may differ by.
ROUNDING = 1e-5
CHUNK = 65_536
Search = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def unit_vectors(count: int, width: int, seed: int) -> np.ndarray:
    """float32, shape (count, width)."""
    vectors = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_numpy(queries: np.ndarray, docs: np.ndarray, k: int) -> np.ndarray:
    scores = queries @ docs.T
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def by_torch(device: str) -> Search:
    def search(queries: np.ndarray, docs: np.ndarray, k: int) -> np.ndarray:
        with torch.inference_mode():
            scores = torch.from_numpy(queries).to(device) @ torch.from_numpy(docs).to(device).T
            return scores.topk(k, dim=1).indices.cpu().numpy()

    return search


def by_sentence_transformers(device: str) -> Search:
    def search(queries: np.ndarray, docs: np.ndarray, k: int) -> np.ndarray:
        given = (torch.from_numpy(x).to(device) for x in (queries, docs))
        found = util.semantic_search(*given, top_k=k, score_function=util.dot_score)
        return np.array([[hit["corpus_id"] for hit in hits] for hits in found])

    return search


def by_faiss(queries: np.ndarray, docs: np.ndarray, k: int) -> np.ndarray:
    index = faiss.IndexFlatIP(docs.shape[1])
    index.add(docs)
    return index.search(queries, k)[1]


def by_evalkit(device: str) -> Search:
    def search(queries: np.ndarray, docs: np.ndarray, k: int) -> np.ndarray:
        chunks = (docs[start : start + CHUNK] for start in range(0, len(docs), CHUNK))
        return exact_search(queries, chunks, k, np.arange(len(docs)), device).docs

    return search


def disagreement(
    queries: np.ndarray, docs: np.ndarray, ours: np.ndarray, other: np.ndarray
) -> tuple[int, float]:
    """(docs that only one has, the most that such a doc's score is off the k-th best)."""
    only, most = 0, 0.0
    for query, mine, theirs in zip(queries, ours, other, strict=True):
        differing = np.setxor1d(mine, theirs)
        if len(differing):
            rows = np.concatenate([mine[-1:], differing])
            scores = similarity(np.broadcast_to(query, (len(rows), len(query))), docs[rows])
            only, most = only + len(differing), max(most, float(np.ptp(scores)))
    return only, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("docs", 200_000), ("queries", 500), ("k", 100), ("width", 384)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    docs = unit_vectors(args.docs, args.width, 0)
    queries = unit_vectors(args.queries, args.width, 1)
    searches: dict[str, tuple[Search, np.ndarray]] = {
        "numpy argpartition": (by_numpy, docs),
        f"torch topk, {args.device}": (by_torch(args.device), docs),
        f"sentence-transformers, {args.device}": (by_sentence_transformers(args.device), docs),
        "FAISS flat": (by_faiss, docs),
    }
    for storage in STORAGES:
        name = f"evalkit {storage}, {args.device}"
        searches[name] = by_evalkit(args.device), narrowed(docs, storage)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in searches}
    found: dict[str, np.ndarray] = {}
    for _ in range(args.repeats):
        for name, (search, given) in searches.items():
            start, used = perf_counter(), process_time()
            found[name] = search(queries, given, args.k)
            seconds[name].append((perf_counter() - start, process_time() - used))
    report(args, searches, seconds, found, queries)


def report(
    args: argparse.Namespace,
    searches: Mapping[str, tuple[Search, np.ndarray]],
    seconds: Mapping[str, Sequence[tuple[float, float]]],
    found: Mapping[str, np.ndarray],
    queries: np.ndarray,
) -> None:
    """Print a table; exit 1 where results differ by more than rounding."""
    base = f"evalkit float32, {args.device}"
    ours, our_work = (min(column) for column in zip(*seconds[base], strict=True))
    print(
        f"{args.docs:,} docs × {args.width}, {args.queries} queries, k = {args.k}, "
        f"{args.threads} threads, best of {args.repeats}; torch {torch.__version__}, "
        f"faiss {faiss.__version__}, numpy {np.__version__}"
    )
    print("\n| search | s | × ours | CPU s | × ours | docs only one finds | off by |")
    print("|---|---|---|---|---|---|---|")
    wrong = []
    for name, (_, given) in searches.items():
        exact = found[base]
        if "evalkit" in name:  # rounded docs are other docs: compared with numpy on those
            exact = by_numpy(queries, widened(given), args.k)
        only, off = disagreement(queries, widened(given), exact, found[name])
        wall, work = (min(column) for column in zip(*seconds[name], strict=True))
        print(
            f"| {name} | {wall:.3f} | {wall / ours:.2f} | {work:.3f} | {work / our_work:.2f} | "
            f"{only} | {off:.1e} |"
        )
        if off > ROUNDING:
            wrong.append(name)
    if wrong:
        sys.exit(f"not the same results: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
