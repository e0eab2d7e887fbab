"""Small Results built by hand, and one of the size that people look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from evalkit.measures.bootstrap import bootstrap_intervals
from evalkit.results import Results, SystemResult
from evalkit.run import Run
from evalkit.types import DatasetInfo

Cells = Mapping[tuple[str, str, int | None, int | None], Mapping[str, Sequence[float]]]


def build(
    cells: Cells,
    intervals: bool = True,
    num_docs: int = 1000,
    depth: int = 100,
    dataset_id: str = "sample",
    tied_share: float = 0.0,
    **more: Any,
) -> Results:
    """Results of {(retriever, reranker, k, n): {measure: values, one a query}}."""
    systems = []
    for (retriever, reranker, k, n), given in cells.items():
        values = {m: np.asarray(v, dtype=float) for m, v in given.items()}
        means = {m: float(v.mean()) for m, v in values.items()}
        ci = {m: (x - 0.1, x + 0.1) if intervals else (np.nan, np.nan) for m, x in means.items()}
        systems.append(SystemResult(retriever, reranker, k, n, values, means, ci, tied_share))
    first = next(iter(cells.values()))
    query_ids = [f"q{i}" for i in range(1, 1 + len(next(iter(first.values()))))]
    run = Run.from_dict({q: {f"d{r}": -r for r in range(depth)} for q in query_ids})
    info = DatasetInfo(dataset_id, "d1g357", num_docs, len(query_ids), 3, 1, False)
    runs = {s.run_name: run for s in systems if s.n is None}
    return Results(info, query_ids, list(first), systems, runs, {}, **more)


def plausible(queries: int = 80, seed: int = 7) -> Results:
    """3 retrievers × [none, bi_encoder] × K 10, 20, 50 × N 5, 10, six measures, random values."""
    generator = np.random.default_rng(seed)
    hardness = generator.normal(0, 1.2, queries)
    measures = ["nDCG@10", "RR@10", "R@100", "AP@100", "P@5", "Judged@10"]
    level = {"nDCG@10": 0.5, "RR@10": 0.6, "R@100": 1.6, "AP@100": 0.1, "P@5": -1, "Judged@10": 3}
    cells = {}
    for retriever, strength in (("bm25", 0.0), ("dense", 0.25), ("hybrid", 0.45)):
        for k in (None, 10, 20, 50):
            gain = 0.0 if k is None else 0.15 + 0.1 * np.log2(k / 10)
            noise = generator.normal(0, 0.5, queries)
            for n in (None, 5, 10):
                lost = {None: 0.0, 5: 0.35, 10: 0.1}[n]
                cells[retriever, "none" if k is None else "bi_encoder", k, n] = {
                    m: 1 / (1 + np.exp(-(level[m] + hardness + noise + strength + gain - lost)))
                    for m in measures
                }
    results = build(cells, num_docs=5183, dataset_id="beir/scifact/test", tied_share=0.031)
    systems = []
    for s in results.systems:
        ends = bootstrap_intervals(np.stack([s.values[m] for m in measures], axis=1), 2000)
        ci = {m: (float(lo), float(hi)) for m, (lo, hi) in zip(measures, ends, strict=True)}
        name = (s.retriever, s.reranker, s.k, s.n, s.values, s.measures, ci, s.tied_share)
        systems.append(SystemResult(*name))
    manifest = {
        "created": "2025-06-30T12:00:00+00:00",
        "config": {"sweep": {"k": [10, 20, 50], "n": [5, 10], "tail": "keep"}},
        "fingerprints": {"bm25": "0f3c", "bi_encoder": "77aa"},
        "warnings": ["3 queries have no relevant document"],
    }
    return Results(
        results.dataset,
        results.query_ids,
        measures,
        systems,
        results.runs,
        {"bi_encoder": 9120},
        {"q3": ["negation", "rare terms"]},
        manifest,
    )


@pytest.fixture(scope="session")
def make_results() -> Callable[..., Results]:
    return build


@pytest.fixture(scope="session")
def realistic() -> Results:
    return plausible()
