"""Models and pairs for the scripts that score pairs; every competitor gets the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import transformers

from evalkit.adapters import find_checkpoint, load_classifier
from evalkit.datasets.folder import FolderDataset
from evalkit.models import resolve_model
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.rerankers.pair_lengths import load_tokenizer
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.run import Run
from evalkit.types import Query

Pairs = list[tuple[str, str]]
MAX_LENGTH = 512


class Shape(NamedTuple):
    """An encoder's architecture: `family` names transformers' classes, `inner` is the width of the
    feed-forward layer (ModernBERT has two of it side by side, GeGLU)."""

    named: str
    family: str
    hidden: int
    layers: int
    heads: int
    inner: int


# MiniLM-L6 is Wang et al. 2020, as cross-encoder/ms-marco-MiniLM-L6-v2 has it; bge-reranker-base
# and -v2-m3 are XLM-RoBERTa's base and large (Conneau et al., ACL 2020); ModernBERT is Warner et
# al. 2024, whose remaining figures (every third layer global, the others 128 tokens wide) are the
# defaults of transformers' ModernBertConfig. `tiny` is so small that all but the model shows.
SIZES = {
    "tiny": Shape("one layer", "Bert", 64, 1, 2, 128),
    "minilm": Shape("MiniLM-L6-H384", "Bert", 384, 6, 12, 1536),
    "base": Shape("bge-reranker-base", "XLMRoberta", 768, 12, 12, 3072),
    "large": Shape("bge-reranker-v2-m3", "XLMRoberta", 1024, 24, 16, 4096),
    "modernbert": Shape("ModernBERT-base", "ModernBert", 768, 22, 12, 1152),
}
# Words of query and doc, lowest and highest.
PROFILES = {
    "short/short": ((4, 12), (10, 40)),
    "short/long": ((4, 12), (200, 400)),
    "long/long": ((100, 180), (200, 400)),
    "mixed": ((3, 180), (5, 400)),
}


def save_tokenizer(folder: Path, types: bool = True) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer of all-MiniLM-L6-v2; types: whether it tells query from doc, as BERT's do."""
    found = resolve_model("sentence-transformers/all-MiniLM-L6-v2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(found))
    if not types:  # BERT's own class always does
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer,
            model_input_names=["input_ids", "attention_mask"],
            **tokenizer.special_tokens_map,
        )
    tokenizer.model_max_length = MAX_LENGTH
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_model(folder: Path, size: str) -> Path:
    """A model of a real size with random weights, and a real tokenizer."""
    shape = SIZES[size]
    bert = shape.family == "Bert"
    tokenizer = save_tokenizer(folder, types=bert)
    settings = {
        "vocab_size": len(tokenizer), "hidden_size": shape.hidden, "num_labels": 1,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner, "pad_token_id": tokenizer.pad_token_id,
        "cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id,
        "bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id,
        # More than is usual (.02), with which all logits are equal but for rounding.
        "initializer_range": 0.05,
    }  # fmt: skip
    if shape.family != "ModernBert":  # which has no table of positions
        settings |= {"max_position_embeddings": MAX_LENGTH + 2, "type_vocab_size": 1 + bert}
    config = getattr(transformers, f"{shape.family}Config")(**settings)
    torch.manual_seed(0)
    family = getattr(transformers, f"{shape.family}ForSequenceClassification")
    family(config).save_pretrained(folder)
    return folder


def save_resolved(folder: Path, name: str) -> int:
    """The reranker of this name, found as evalkit finds it, whole and in float32; the tokens of a
    pair that it reads, MAX_LENGTH at most.

    Saved anew, as some competitors would take a checkpoint in half precision for one in float32,
    and none but evalkit merges a LoRA adapter.
    """
    scorer = ClassifierScorer(name)
    scorer.check()
    checkpoint = find_checkpoint(name)
    load_classifier(checkpoint, "float32", "cpu").save_pretrained(folder)
    load_tokenizer(checkpoint.tokenizer, name).save_pretrained(folder)
    return min(scorer.max_length, MAX_LENGTH)


def collection_candidates(
    path: str, queries: int, depth: int, cache: Path
) -> tuple[FolderDataset, list[Query], Run]:
    """A collection, its first queries, and the best `depth` docs of each by BM25."""
    dataset = FolderDataset(path)
    retriever = BM25Retriever(cache_dir=cache)
    retriever.index(dataset)
    chosen = list(dataset.queries)[:queries]
    return dataset, chosen, retriever.retrieve(chosen, depth)


def collection_pairs(path: str, queries: int, depth: int, cache: Path) -> Pairs:
    """The texts of those candidates."""
    dataset, chosen, run = collection_candidates(path, queries, depth, cache)
    texts = {query.query_id: query.text for query in chosen}
    docs = dataset.lookup(set(run.doc_ids.tolist()))
    return [(texts[query_id], docs[d].render()) for query_id, found in run for d in found]


def profile_pairs(profile: str, count: int, words: Sequence[str]) -> Pairs:
    """Pairs of random words, in the lengths of a profile."""
    generator = np.random.default_rng(0)
    query, doc = PROFILES[profile]

    def text(low: int, high: int) -> str:
        return " ".join(generator.choice(words, size=generator.integers(low, high + 1)))

    # As in a candidate list: many docs a query, and docs that come again.
    queries = [text(*query) for _ in range(max(count // 50, 1))]
    docs = [text(*doc) for _ in range(max(count // 2, 1))]
    return [
        (queries[i % len(queries)], docs[int(generator.integers(len(docs)))]) for i in range(count)
    ]


def words_of(folder: Path) -> list[str]:
    """The whole words of a tokenizer's vocabulary, sorted."""
    vocabulary = transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    return sorted(word for word in vocabulary if word.isalpha() and len(word) > 2)
