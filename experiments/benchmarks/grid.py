"""The K × N grid against a loop of ir_measures over its cells, on MS MARCO's dimensions.

    OMP_NUM_THREADS=1 python experiments/benchmarks/grid.py
    OMP_NUM_THREADS=1 python experiments/benchmarks/grid.py --qrels graded --measures nDCG@10 AP

Generates 6,980 queries with 1,000 candidates each, from a corpus of a million docs, and a reranking
of every K; every cell is a ranking of all candidates, cut to N. `sparse` judges as MS MARCO's dev
set does, one or two docs a query; `graded` judges 100 docs a query on grades 0 to 3.

The peer is ir_measures at its best: one evaluator for all cells, its rankings as dictionaries that
are made before the clock starts (that is timed apart). Every cell of both is computed, none is
extrapolated, and every value compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ir_measures
import numpy as np

from evalkit.measures import MeasureSet, bootstrap_intervals, parse_measures
from evalkit.run import Run
from evalkit.types import Qrel, grades_of

CORPUS = 1_000_000
MEASURES = ["nDCG@10", "RR@10", "R@100", "P@10", "AP@100"]
KS = [10, 20, 50, 100, 200, 400, 700, 1000]
NS = [5, 10, 100, 1000]
# MS MARCO's dev set has 7,437 judgements for 6,980 queries.
SECOND_JUDGEMENT = 0.065
JUDGED_WHERE_GRADED = 100
GRADE_SHARES = [0.6, 0.2, 0.13, 0.07]


class Clock:
    """CPU and wall seconds by name, added up. Both sides use one core: where others use the same
    machine, CPU seconds are the ones to compare."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu
        self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - wall


def candidates_of(generator: np.random.Generator, queries: int, depth: int) -> Run:
    """A first stage: `depth` docs a query, drawn from the corpus."""
    # Steps of at least 1 through the corpus: distinct docs without a draw for each query.
    steps = generator.integers(1, CORPUS // depth, size=(queries, depth))
    docs = np.cumsum(steps, axis=1)
    docs = generator.permuted(docs, axis=1).reshape(-1)
    scores = np.tile(np.arange(depth, 0, -1, dtype=np.float32), queries)
    offsets = np.arange(queries + 1, dtype=np.int64) * depth
    # Of one length, so that order of ids is order of numbers.
    vocabulary = np.char.add("D", np.char.zfill(np.arange(CORPUS).astype(str), 7))
    query_ids = tuple(f"q{i}" for i in range(queries))
    return Run(query_ids, offsets, vocabulary, docs.astype(np.int32), scores)


def qrels_of(generator: np.random.Generator, candidates: Run, graded: bool) -> list[Qrel]:
    """Judgements of candidates, near the top rather than deep; a tenth of them of other docs."""
    depth = int(candidates.sizes[0])
    docs = candidates.docs.reshape(-1, depth)
    qrels = []
    for i, query_id in enumerate(candidates.query_ids):
        few = 1 + int(generator.random() < SECOND_JUDGEMENT)
        count = JUDGED_WHERE_GRADED if graded else few
        ranks = np.unique((depth * generator.random(count) ** 3).astype(int))
        judged = np.where(
            generator.random(len(ranks)) < 0.1,
            generator.choice(CORPUS, size=len(ranks), replace=False),
            docs[i, ranks],
        )
        grades = generator.choice(4, size=len(ranks), p=GRADE_SHARES) if graded else [1] * few
        ids = candidates.vocabulary[judged].tolist()
        qrels += [Qrel(query_id, d, int(g)) for d, g in zip(ids, grades, strict=False)]
    return qrels


def cells_of(generator: np.random.Generator, candidates: Run, ks: Sequence[int]) -> dict[int, Run]:
    """K → the ranking whose first K candidates stand in the order of a reranker's scores.

    Made as an experiment makes its cells.
    """
    scored = candidates.with_scores(generator.standard_normal(len(candidates)).astype(np.float32))
    cells = {}
    for k in ks:
        given = candidates.top(k)
        cells[k] = candidates.reranked(given.with_scores(given.scores_in(scored)))
    return cells


def as_dict(run: Run) -> dict[str, dict[str, int]]:
    return {
        query_id: {doc_id: len(docs) - rank for rank, doc_id in enumerate(docs)}
        for query_id, docs in run
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qrels", choices=["sparse", "graded"], default="sparse")
    parser.add_argument("--measures", nargs="+", default=MEASURES)
    parser.add_argument("--queries", type=int, default=6980)
    parser.add_argument("--depth", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    clock = Clock()

    candidates = candidates_of(generator, options.queries, options.depth)
    qrels = qrels_of(generator, candidates, options.qrels == "graded")
    with clock("cells"):
        cells = cells_of(generator, candidates, KS)
    print(
        f"{options.queries:,} queries × {options.depth:,} docs, {len(qrels):,} judgements, "
        f"{len(KS)} K × {len(NS)} N, {' '.join(options.measures)}"
    )

    measures = parse_measures(options.measures)
    with clock("bind evalkit"):
        measure_set = MeasureSet(measures, qrels)
    with clock("bind ir_measures"):
        evaluator = ir_measures.evaluator(measures, grades_of(qrels))

    position = {query_id: i for i, query_id in enumerate(measure_set.query_ids)}
    names = measure_set.names
    columns = []
    largest, equal, compared = 0.0, 0, 0
    for run in cells.values():
        with clock("evalkit"):
            ours = measure_set.at_depths(run, NS)
        for n, found in zip(NS, ours, strict=True):
            with clock("dictionaries"):
                ranked = as_dict(run.top(n))
            theirs = np.zeros((len(names), len(position)))
            with clock("ir_measures"):
                metrics = list(evaluator.iter_calc(ranked))
            for metric in metrics:
                theirs[names.index(str(metric.measure)), position[metric.query_id]] = metric.value
            mine = np.stack([found[name] for name in names])
            columns += list(mine)
            largest = max(largest, float(np.abs(mine - theirs).max()))
            equal, compared = equal + int((mine == theirs).sum()), compared + mine.size

    with clock("bootstrap"):
        bootstrap_intervals(np.stack(columns, axis=1))
    for name, seconds in clock.cpu.items():
        print(f"{name:18} {seconds:9.2f} s CPU {clock.wall[name]:9.2f} s")
    ratio = clock.cpu["ir_measures"] / clock.cpu["evalkit"]
    with_dicts = ratio + clock.cpu["dictionaries"] / clock.cpu["evalkit"]
    print(f"ir_measures / evalkit: {ratio:.1f} (with its dictionaries: {with_dicts:.1f})")
    print(f"largest difference {largest:.1e}; {equal:,} of {compared:,} values equal to the bit")


if __name__ == "__main__":
    main()
