"""What a sweep costs against scoring its pairs once, and what it costs the second time.

    python experiments/benchmarks/sweep.py --collection PATH/scifact --size minilm --depths 5 10

Three retrievers (BM25 in three settings), five K, four N, one cross-encoder with random weights of
a real size. First the union of all candidates is scored by the engine alone; then the whole
experiment runs, into an empty store; then it runs again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import pandas  # noqa: F401  # pyarrow's first write loads it, which is no cost of a sweep
import transformers
from pair_workload import MAX_LENGTH, SIZES, save_model

from evalkit.datasets.folder import FolderDataset
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.run import union
from evalkit.settings import MeasureSettings, SweepSettings

SETTINGS = {"bm25": (1.2, 0.75), "bm25_flat": (0.9, 0.4), "bm25_steep": (2.0, 0.9)}
CUTOFFS = [1, 3, 5, 10]
MEASURES = ["nDCG@10", "RR@10", "R@K", "AP@100"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--collection", required=True, help="a folder in BEIR layout")
    parser.add_argument("--size", choices=SIZES, default="minilm")
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 4, 6, 8, 10])
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        model = str(save_model(Path(folder) / "model", given.size))
        dataset = FolderDataset(given.collection)
        retrievers = {
            name: BM25Retriever(k1=k1, b=b, cache_dir=folder) for name, (k1, b) in SETTINGS.items()
        }

        def run(cache: Path) -> tuple[float, dict[str, int]]:
            """Seconds of the reranking step, the loading of model and libraries left out; and its
            work."""
            reranker = CrossEncoderReranker(
                model, max_length=MAX_LENGTH, device=given.device, cache_dir=cache
            )
            reranker.scorer.score([("a", "b")])
            experiment = Experiment(
                dataset,
                retrievers,
                {"cross_encoder": reranker},
                SweepSettings(k=given.depths, n=CUTOFFS),
                MeasureSettings(MEASURES),
            )
            log = ExecutionLog()
            experiment.run(log)
            return log.seconds["rerank cross_encoder"], reranker.work

        queries = list(dataset.queries)
        for retriever in retrievers.values():
            retriever.index(dataset)
        deepest = max(given.depths)
        pool = union([r.retrieve(queries, deepest) for r in retrievers.values()])
        texts = {query.query_id: query.text for query in queries}
        docs = dataset.lookup(set(pool.doc_ids.tolist()))
        pairs = [(texts[q], docs[d].render()) for q, found in pool for d in found]
        scorer = ClassifierScorer(
            model, max_length=MAX_LENGTH, device=given.device, cache_dir=Path(folder) / "alone"
        )
        scorer.score([("a", "b")])
        start = time.perf_counter()
        scorer.score(pairs)
        once = time.perf_counter() - start
        print(f"the union, {len(pairs):,} pairs, by the engine alone: {once:.2f} s")
        cells = len(SETTINGS) * len(given.depths) * (len(CUTOFFS) + 1)
        for what in ("the sweep", "the sweep again"):
            seconds, work = run(Path(folder) / "cache")
            print(
                f"{what}, {cells} cells: {seconds:.2f} s, {seconds / once:.3f} x the union; {work}"
            )


if __name__ == "__main__":
    main()
