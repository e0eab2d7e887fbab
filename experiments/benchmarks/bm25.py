"""BM25 from texts to the top k: evalkit's retriever against what one would install instead.

    python experiments/benchmarks/bm25.py --collection PATH/scifact --k 100

Every competitor starts from the rendered docs and the queries as texts in main memory, and all have
evalkit's k1 and b. bm25s (Lù 2024) comes with its own tokenizer, English stop words and PyStemmer,
on its numpy back end and, where numba is installed, on that one; rank-bm25's BM25Okapi has no
tokenizer and is given evalkit's terms. Each is one thread. evalkit also writes its index to the
disk and reads it from there, which the others need not; an index is never reused here.

Rounds alternate, the fastest of each counts, by the clock and by the processor's time, as others
may use the machine too; numba compiles before. Then bm25s is given evalkit's terms: scores must be
the same, and a doc that only one finds may differ from the k-th best by rounding only.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from time import perf_counter, process_time
from typing import NamedTuple

import bm25s
import numpy as np
from bm25_competitors import OURS, Collection, Competitor, competitors

from evalkit.errors import EvalkitError
from evalkit.measures import MeasureSet, parse_measures
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.run import Run

MEASURE = "nDCG@10"
# What float32 sums of a query's terms may differ by, as a share of its best score.
ROUNDING = 1e-6


class Took(NamedTuple):
    """Seconds to index and to search: by the clock, and of this process's processors."""

    index: float
    search: float
    index_processor: float
    search_processor: float


def once(competitor: Competitor, collection: Collection, k: int) -> tuple[Took, Run]:
    marks = [(perf_counter(), process_time())]
    competitor.index(collection)
    marks.append((perf_counter(), process_time()))
    found = competitor.search(collection, k)
    marks.append((perf_counter(), process_time()))
    (index, search), (index_cpu, search_cpu) = np.diff(marks, axis=0).T.tolist()
    return Took(index, search, index_cpu, search_cpu), competitor.run(collection, found)


def measure(
    makers: Mapping[str, Callable[[], Competitor]], collection: Collection, k: int, rounds: int
) -> dict[str, tuple[Took, Run]]:
    """Of each competitor the fastest of all rounds, and what it found in the last."""
    took: dict[str, list[Took]] = {name: [] for name in makers}
    runs: dict[str, Run] = {}
    for name, make in makers.items():
        if "numba" in name:
            once(make(), collection, k)  # compiles
    for _ in range(rounds):
        for name, make in makers.items():
            seconds, runs[name] = once(make(), collection, k)
            took[name].append(seconds)
    return {name: (Took(*map(min, zip(*took[name], strict=True))), runs[name]) for name in makers}


class Agreement(NamedTuple):
    """How far two rankings of the same scores are apart; differences are shares of the best score
    of a query. `scores`: the most that a doc's score differs; `only_one`: docs that only one has;
    `off`: the most that such a doc's score is off the k-th best."""

    scores: float
    only_one: int
    off: float


def agreement(collection: Collection, ours: Run, k1: float, b: float, k: int) -> Agreement:
    """Our run against bm25s' own, which is given our terms."""
    terms = BM25Retriever().analyzer.terms
    model = bm25s.BM25(k1=k1, b=b, method="lucene")
    model.index(list(map(terms, collection.texts)), show_progress=False)
    place = {doc_id: at for at, doc_id in enumerate(collection.ids.tolist())}
    scores, only_one, off = 0.0, 0, 0.0
    for query in collection.queries:
        mine = {place[doc_id]: score for doc_id, score in ours[query.query_id]}
        asked = terms(query.text)
        own = model.get_scores(asked) if asked else np.zeros(collection.num_docs)
        if not own.any() and not mine:
            continue
        theirs = set(np.argsort(-own, kind="stable")[:k].tolist()) & set(own.nonzero()[0].tolist())
        best, last = float(own.max()), min(mine.values(), default=0.0)
        scores = max([scores, *(abs(own[at] - score) / best for at, score in mine.items())])
        differing = theirs.symmetric_difference(mine)
        only_one += len(differing)
        off = max([off, *(abs(own[at] - last) / best for at in differing)])
        if len(mine) != len(theirs):  # no tie at the border explains that
            off = float("inf")
    return Agreement(scores, only_one, off)


def table(found: Mapping[str, tuple[Took, Run]], collection: Collection) -> None:
    print(
        "\n| retriever | index, s | CPU s | × ours | search, s | CPU s | queries/s | × ours | "
        f"{MEASURE} |\n|---|---|---|---|---|---|---|---|---|"
    )
    quality = MeasureSet(parse_measures([MEASURE]), collection.qrels)
    ours = found[OURS][0]
    for name, (took, run) in found.items():
        print(
            f"| {name} | {took.index:.3f} | {took.index_processor:.3f} | "
            f"{took.index / ours.index:.2f} | {took.search:.3f} | {took.search_processor:.3f} | "
            f"{len(collection.queries) / took.search:,.0f} | {took.search / ours.search:.2f} | "
            f"{quality.per_query(run)[MEASURE].mean():.4f} |"
        )


def check(found: Agreement) -> None:
    """Print how bm25s agrees; exit 1 where it is by more than rounding."""
    print(
        f"\nbm25s given evalkit's terms: scores differ by {found.scores:.1e} at most, "
        f"{found.only_one} docs that only one finds, off the k-th best by {found.off:.1e}"
    )
    if max(found.scores, found.off) > ROUNDING:
        sys.exit("not the same results: evalkit and bm25s on the same terms")


def arguments() -> argparse.ArgumentParser:
    default = BM25Retriever()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", required=True, help="a folder in BEIR layout")
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, help="the first ones only")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--k1", type=float, default=default.k1)
    parser.add_argument("--b", type=float, default=default.b)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def run(given: argparse.Namespace) -> None:
    collection = Collection(given.collection, given.split, given.queries)
    makers = competitors(given.k1, given.b)
    found = measure(makers, collection, given.k, given.rounds)
    print(
        f"{collection.name}: {collection.num_docs:,} docs, {len(collection.queries):,} queries, "
        f"k = {given.k}, k1 = {given.k1}, b = {given.b}, best of {given.rounds}; "
        f"bm25s {version('bm25s')}, numpy {np.__version__}"
    )
    table(found, collection)
    check(agreement(collection, found[OURS][1], given.k1, given.b, given.k))


def main() -> None:
    parser = arguments()
    given = parser.parse_args()
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    try:
        run(given)
    except EvalkitError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
