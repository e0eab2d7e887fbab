"""How far half precision and the batches move a cross-encoder's scores and its top 10, and what it
takes to have float32's top 10 all the same.

    python experiments/benchmarks/precision.py --collection PATH/scifact --model PATH_OR_NAME

The best docs by BM25 of a collection's queries are scored by evalkit's engine in float32, in half
precision (in batches of three compositions), and in half precision confirmed by float32 (the
reranker `confirmed`). Printed are the largest difference of a logit, the share of queries whose top
10 is the same, in the same order, and how long each took; queries that differ are listed with the
gap between the docs that changed places. No score is reused, but those in half precision by
`confirmed`, whose time is that of both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from pair_workload import collection_candidates, save_resolved

from evalkit.assembly import connected_rerankers
from evalkit.models import dtype_name
from evalkit.rerankers.confirmed import ConfirmedReranker
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.run import Run
from evalkit.types import Dataset, Query, Reranker

DEPTH = 10


def compare(what: str, base: Run, other: Run, texts: dict[str, str], listed: int) -> None:
    """`other` against `base`: logits and top 10."""
    ours, theirs = dict(base), dict(other)
    differing = [query for query in ours if ours[query][:DEPTH] != theirs[query][:DEPTH]]
    off = np.abs(base.scores - base.scores_in(other))
    best = off[base.ranks < DEPTH]
    print(
        f"{what}: largest difference {off.max():.2e} (in the top 10 {best.max():.2e}), mean "
        f"{off.mean():.2e}, same top 10 for {100 * (1 - len(differing) / len(ours)):.1f} % "
        f"({len(ours) - len(differing)} of {len(ours)} queries)"
    )
    for query in differing[:listed]:
        mine, place = dict(base[query]), {doc: i for i, doc in enumerate(theirs[query])}
        top = ours[query][:DEPTH]
        swapped = [mine[a] - mine[b] for a, b in pairwise(top) if place[a] > place[b]]
        gaps = ", ".join(f"{value:.4f}" for value in swapped) or "at the border of the top 10"
        print(f"    {texts[query][:70]!r}: gaps in the base {gaps}")


def timed(
    reranker: Reranker, queries: Sequence[Query], dataset: Dataset, candidates: Run
) -> tuple[Run, float]:
    """The candidates reranked, and the seconds that it took."""
    began = time.perf_counter()
    found = reranker.rerank(queries, dataset, candidates)
    return found, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--collection", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--slack", type=float, default=0.25, help="of `confirmed`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", action="store_true", help="other batches, too")
    parser.add_argument("--reference", action="store_true", help="sentence-transformers, too")
    parser.add_argument("--listed", type=int, default=10)
    given = parser.parse_args()
    half = dtype_name("auto", given.device)
    half = "bfloat16" if half == "float32" else half
    with tempfile.TemporaryDirectory() as folder:
        dataset, queries, candidates = collection_candidates(
            given.collection, given.queries, given.depth, Path(folder)
        )
        texts = {query.query_id: query.text for query in queries}

        def made(dtype: str, cache: str, budget: int | None = None) -> CrossEncoderReranker:
            return CrossEncoderReranker(
                given.model, dtype=dtype, token_budget=budget, device=given.device,
                cache_dir=Path(folder) / cache,
            )  # fmt: skip

        def warmed(reranker: PointwiseReranker) -> PointwiseReranker:
            reranker.scorer.score([("a query", "a doc")])
            return reranker

        part = warmed(made(half, "half"))
        default, half_s = timed(part, queries, dataset, candidates)
        reranker = connected_rerankers(
            dataset, {}, {"part": part, "confirmed": ConfirmedReranker("part", slack=given.slack)}
        )["confirmed"].for_retriever("bm25")
        warmed(reranker.parts["part.float32"])
        confirmed, confirm_s = timed(reranker, queries, dataset, candidates)
        exact, exact_s = timed(warmed(made("float32", "exact")), queries, dataset, candidates)

        print(
            f"{len(queries)} queries, {len(exact):,} pairs; float32's logits "
            f"{exact.scores.min():.2f} to {exact.scores.max():.2f}; float32 {exact_s:.1f} s, "
            f"{half} {half_s:.1f} s, confirmed {half_s + confirm_s:.1f} s "
            f"({reranker.work['part.float32 scored']:,} pairs again)"
        )
        compare(f"{half} against float32", exact, default, texts, given.listed)
        compare("confirmed against float32", exact, confirmed, texts, given.listed)
        if given.batches:
            for what, budget in (("one by one", 1), ("large", 32_768)):
                other, _ = timed(made(half, what, budget), queries, dataset, candidates)
                compare(f"{half}, batches {what}", default, other, texts, given.listed)
        if given.reference:
            from evalkit.rerankers.reference import ReferenceScorer

            whole = Path(folder) / "whole"  # sentence-transformers merges no adapter
            save_resolved(whole, given.model)
            scorer = ReferenceScorer(str(whole), device=given.device)
            reference = PointwiseReranker(scorer, cache_dir=Path(folder) / "reference")
            found, _ = timed(reference, queries, dataset, candidates)
            compare("float32, sentence-transformers", exact, found, texts, given.listed)


if __name__ == "__main__":
    main()
