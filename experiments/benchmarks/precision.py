"""How far half precision and the batches move a cross-encoder's scores and its top 10.

    python experiments/benchmarks/precision.py --collection PATH/scifact --model PATH_OR_NAME

The best docs by BM25 of a collection's queries are scored by sentence-transformers in float32 and
by evalkit's engine in float32 and in half precision, that in batches of three compositions. Printed
are the largest difference of a logit and the share of queries whose top 10 is the same, in the same
order; those that differ are listed with the gap between the docs that changed places.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from pair_workload import Pairs, collection_pairs

from evalkit.models import dtype_name
from evalkit.rerankers.classifier import ClassifierScorer


def tops(pairs: Pairs, scores: np.ndarray, depth: int = 10) -> dict[str, list[int]]:
    """Each query's best pairs, as positions; ties go by position."""
    rows: dict[str, list[int]] = {}
    for position, (query, _) in enumerate(pairs):
        rows.setdefault(query, []).append(position)
    return {
        query: sorted(found, key=lambda at: (-scores[at], at))[:depth]
        for query, found in rows.items()
    }


def compare(what: str, pairs: Pairs, base: np.ndarray, other: np.ndarray, listed: int) -> None:
    """`other` against `base`: logits and top 10."""
    ours, theirs = tops(pairs, base), tops(pairs, other)
    differing = [query for query in ours if ours[query] != theirs[query]]
    same = 1 - len(differing) / len(ours)
    gap = np.abs(base - other)
    print(
        f"{what}: largest difference {gap.max():.2e}, mean {gap.mean():.2e}, "
        f"same top 10 for {100 * same:.1f} % of {len(ours)} queries"
    )
    for query in differing[:listed]:
        # Neighbours in base's order that stand the other way round in other's.
        swapped = [
            base[a] - base[b] for a, b in pairwise(ours[query]) if (other[a], -a) < (other[b], -b)
        ]
        gaps = ", ".join(f"{value:.4f}" for value in swapped) or "at the border of the top 10"
        print(f"    {query[:70]!r}: gaps in the base {gaps}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--collection", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--base-model")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--reference", action="store_true", help="sentence-transformers, too")
    parser.add_argument("--listed", type=int, default=10)
    given = parser.parse_args()
    half = dtype_name("auto", given.device)
    half = "bfloat16" if half == "float32" else half
    with tempfile.TemporaryDirectory() as folder:
        pairs = collection_pairs(given.collection, given.queries, given.depth, Path(folder))

        def scored(dtype: str, budget: int | None = None, order: int = 1) -> np.ndarray:
            scorer = ClassifierScorer(
                given.model, given.base_model, dtype=dtype, token_budget=budget,
                device=given.device, cache_dir=folder,
            )  # fmt: skip
            return scorer.score(pairs[::order])[::order]

        exact = scored("float32")
        print(f"{len(pairs)} pairs; logits {exact.min():.2f} to {exact.max():.2f}")
        if given.reference:
            from evalkit.rerankers.reference import ReferenceScorer

            reference = ReferenceScorer(given.model, device=given.device).score(pairs)
            compare("float32, sentence-transformers", pairs, exact, reference, given.listed)
        default = scored(half)
        compare(f"{half} against float32", pairs, exact, default, given.listed)
        for what, budget, order in (("one by one", 1, 1), ("large, reversed", 32_768, -1)):
            other = scored(half, budget, order)
            compare(f"{half}, batches {what}", pairs, default, other, given.listed)


if __name__ == "__main__":
    main()
