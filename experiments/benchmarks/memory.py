"""Resident memory while many pairs are scored over a corpus that is generated as it is asked for.

    python experiments/benchmarks/memory.py --queries 20000 --depth 100 --docs 500000

A cross-encoder with random weights, small enough that two million pairs take minutes, behind the
same reranker, engine, token cache and score store as any other. Peak and final resident memory are
the process's own (VmHWM, VmRSS), libraries and model included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import transformers
from pair_workload import save_tokenizer

from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.run import Run
from evalkit.types import Doc, Query


class GeneratedCorpus:
    """Docs that are made when they are looked up, the same each time; none is held."""

    def __init__(self, words: list[str], size: int) -> None:
        self.words, self.size = np.array(words), size

    def text(self, seed: int, low: int, high: int) -> str:
        generator = np.random.default_rng(seed)
        return " ".join(generator.choice(self.words, size=generator.integers(low, high)))

    def lookup(self, doc_ids: Iterable[str]) -> dict[str, Doc]:
        return {doc_id: Doc(doc_id, "", self.text(int(doc_id), 20, 60)) for doc_id in doc_ids}


def resident(field: str) -> float:
    """GB of this process: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(field)]
    return int(line.split()[1]) / 1024**2


def save_small_model(folder: Path) -> Path:
    tokenizer = save_tokenizer(folder)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=128, num_labels=1,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--docs", type=int, default=500_000)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        model = save_small_model(Path(folder) / "model")
        vocabulary = transformers.AutoTokenizer.from_pretrained(model).get_vocab()
        words = sorted(word for word in vocabulary if word.isalpha() and len(word) > 2)
        corpus = GeneratedCorpus(words, given.docs)
        queries = [Query(f"q{i}", corpus.text(given.docs + i, 3, 12)) for i in range(given.queries)]
        docs = np.concatenate(
            [generator.choice(given.docs, given.depth, replace=False) for _ in queries]
        )
        rows = np.repeat(np.arange(given.queries), given.depth)
        candidates = Run.from_columns(
            [query.query_id for query in queries], rows, docs.astype(str), np.zeros(len(docs))
        )
        print(f"before: {resident('VmRSS'):.2f} GB (libraries, queries, candidates)")
        reranker = CrossEncoderReranker(
            str(model), max_length=128, dtype="float32", cache_dir=Path(folder) / "cache"
        )
        for what in ("scored", "again, all from the store"):
            start = time.perf_counter()
            reranker.rerank(queries, corpus, candidates)
            print(
                f"{what}: {len(candidates):,} pairs, {len(np.unique(docs)):,} docs, "
                f"{reranker.counts.scored:,} scored, {time.perf_counter() - start:.0f} s, "
                f"now {resident('VmRSS'):.2f} GB, peak {resident('VmHWM'):.2f} GB"
            )


if __name__ == "__main__":
    main()
