"""How fast a bi-encoder's texts are encoded beside sentence-transformers: docs, and single queries.

    python experiments/benchmarks/encoding.py --collection PATH/scifact --model PATH_OR_NAME

Both load the same model in float32 and encode the same texts in batches of the same size, by turns;
the fastest round counts. evalkit's time is that of `TextEncoder.encode` into an empty cache: what
digests, the cache on disk and checks take is in it. A query is encoded alone, as a service gets it,
with nothing kept; its time is the median over the queries.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
import sentence_transformers
import torch
import transformers

from evalkit.datasets.folder import FolderDataset
from evalkit.encoders import TextEncoder
from evalkit.measured import cold

# What the order of sums may change in a vector of length 1.
ROUNDING = 1e-5


THEIRS, OURS = "sentence-transformers", "evalkit"


def seconds_of(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = perf_counter()
    made = work()
    return perf_counter() - start, made


def median_ms(encode: Callable[[str], np.ndarray], queries: Sequence[str]) -> float:
    """Milliseconds a query, of its second time: a shape's first product is prepared."""
    for text in queries:
        encode(text)
    spent = [seconds_of(lambda text=text: encode(text))[0] for text in queries]
    return 1e3 * statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", required=True, help="a folder in BEIR layout")
    parser.add_argument("--model", required=True)
    for name, default in (("docs", 1_000), ("queries", 100), ("batch-size", 32), ("rounds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    dataset = FolderDataset(given.collection)
    docs = [doc.render() for doc in islice(dataset.docs_iter(), given.docs)]
    queries = [query.text for query in list(dataset.queries)[: given.queries]]
    theirs = sentence_transformers.SentenceTransformer(given.model, device=given.device)
    with tempfile.TemporaryDirectory() as folder:

        def loaded(cache: str) -> TextEncoder:
            ours = TextEncoder(
                given.model, batch_size=given.batch_size, device=given.device,
                cache_dir=Path(folder) / cache,
            )  # fmt: skip
            ours.encode(["a doc"], "doc")
            return ours

        seconds: dict[str, list[float]] = {THEIRS: [], OURS: []}
        for number in range(given.rounds):
            ours = loaded(str(number))
            took, wanted = seconds_of(
                lambda: theirs.encode_document(
                    docs, batch_size=given.batch_size, normalize_embeddings=True
                )
            )
            seconds[THEIRS].append(took)
            took, made = seconds_of(lambda ours=ours: ours.encode(docs, "doc"))
            seconds[OURS].append(took)
        with cold():
            alone = {
                THEIRS: median_ms(
                    lambda text: theirs.encode_query([text], normalize_embeddings=True), queries
                ),
                OURS: median_ms(lambda text: ours.encode([text], "query"), queries),
            }
    best = {name: min(all_) for name, all_ in seconds.items()}
    print(
        f"{len(docs):,} docs, {len(queries)} queries, {given.device}, {torch.get_num_threads()} "
        f"threads, best of {given.rounds}; torch {torch.__version__}, sentence-transformers "
        f"{sentence_transformers.__version__}"
    )
    print("\n| encoder | docs, s | docs/s | × ours | a query alone, ms | × ours |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, spent in best.items():
        print(
            f"| {name} | {spent:.2f} | {len(docs) / spent:.1f} | {spent / best[OURS]:.2f} | "
            f"{alone[name]:.2f} | {alone[name] / alone[OURS]:.2f} |"
        )
    off = float(np.abs(made - wanted).max())
    print(f"\nVectors differ by {off:.1e} at most.")
    if off > ROUNDING:
        sys.exit("not the same vectors")


if __name__ == "__main__":
    main()
