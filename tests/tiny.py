"""Tiny models, built and saved here, loaded by the real library classes; and a toy dataset."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from evalkit.datasets.folder import FolderDataset

WORDS = [
    "search", "index", "query", "rerank", "score", "token", "vector", "cache", "shard", "merge",
    "latency", "recall", "precision", "branch", "deploy", "rollback", "schema", "retry", "limit",
    "memory", "检", "索", "重", "排", "缓", "存", "分", "词", "向", "量",
]  # fmt: skip


def save_tokenizer(folder: Path) -> int:
    """A WordPiece tokenizer over a small vocabulary; returns the vocabulary's size."""
    from transformers import BertTokenizer

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *WORDS, *letters, *(f"##{x}" for x in letters), *"0123456789.,"]
    folder.mkdir(parents=True, exist_ok=True)
    vocab_file = folder / "vocab.txt"
    vocab_file.write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizer(str(vocab_file), model_max_length=64).save_pretrained(folder)
    return len(vocabulary)


def _config(size: int, **extra):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.4,  # large, so that random scores differ well beyond rounding
        **extra,
    )


def save_cross_encoder(folder: Path, num_labels: int = 1, nan: bool = False) -> Path:
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    model = BertForSequenceClassification(_config(save_tokenizer(folder), num_labels=num_labels))
    if nan:
        torch.nn.init.constant_(model.classifier.weight, float("nan"))
    model.save_pretrained(folder)
    return folder


def save_bi_encoder(
    folder: Path, similarity: str = "cosine", seed: int = 0, **prompts: str
) -> Path:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as modules
    from transformers import BertModel

    torch.manual_seed(0)
    plain = folder.parent / f"{folder.name}-plain"
    BertModel(_config(save_tokenizer(plain))).save_pretrained(plain)
    transformer = modules.Transformer(str(plain), max_seq_length=32)
    pooling = modules.Pooling(32)
    SentenceTransformer(
        modules=[transformer, pooling],
        similarity_fn_name=similarity,
        prompts=prompts or None,
        device="cpu",
    ).save(str(folder))
    return folder


def write_collection(folder: Path, docs: int = 40, queries: int = 8, seed: int = 0) -> Path:
    """A random BEIR folder over WORDS, with graded qrels."""
    generator = np.random.default_rng(seed)

    def text(low: int, high: int) -> str:
        return " ".join(generator.choice(WORDS, size=int(generator.integers(low, high))))

    (folder / "qrels").mkdir(parents=True)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        for i in range(docs):
            doc = {"_id": f"d{i}", "title": text(1, 4), "text": text(5, 40)}
            file.write(json.dumps(doc, ensure_ascii=False) + "\n")
    with open(folder / "queries.jsonl", "w", encoding="utf-8") as file:
        for i in range(queries):
            file.write(json.dumps({"_id": f"q{i}", "text": text(2, 5)}, ensure_ascii=False) + "\n")
    with open(folder / "qrels" / "test.tsv", "w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for i in range(queries):
            for doc in generator.choice(docs, size=6, replace=False):
                file.write(f"q{i}\td{doc}\t{generator.integers(0, 4)}\n")
    return folder


def toy_dataset(folder: Path, **settings) -> FolderDataset:
    return FolderDataset(write_collection(folder, **settings))


class HashScorer:
    """A PairScorer whose score is a digest of the two texts; counts what it is asked."""

    fingerprint = "hash-scorer"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def score(self, pairs):
        self.asked.extend(pairs)
        digests = [hashlib.sha256(f"{q}\0{d}".encode()).digest() for q, d in pairs]
        return np.array([int.from_bytes(x[:3], "big") for x in digests], dtype=np.float32)


class ListReranker:
    """Depends on the list: a doc's score is its rank among the candidates, reversed."""

    depends_on_list = True
    fingerprint = "list-reranker"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def rerank(self, queries, dataset, candidates):
        self.sizes.append(len(candidates))
        return candidates.with_scores(candidates.ranks.astype(np.float32))
