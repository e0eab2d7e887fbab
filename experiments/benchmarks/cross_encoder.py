"""Pairs a second under a cross-encoder: evalkit's engine against its peers, in one run.

    python experiments/benchmarks/cross_encoder.py --collection PATH/scifact
    python experiments/benchmarks/cross_encoder.py --profiles --device cuda --size large

The pairs are the best docs by BM25 of a collection's queries, or generated ones of four length
profiles. Peers are sentence-transformers' CrossEncoder as it comes (float32, 32 pairs a batch), at
its best setting (every dtype and batch size here, on its PyTorch back end: neither ONNX, OpenVINO
nor torch.compile), FlagEmbedding's FlagReranker, and transformers without any tool around it. All
read the same model with random weights of a real size: speed does not depend on what it has
learned. Rounds are interleaved, the median counts, no score is reused.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from sentence_transformers import CrossEncoder

from evalkit.datasets.folder import FolderDataset
from evalkit.models import dtype_name, resolve_model
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.scoring.tokens import TokenCache

Pairs = list[tuple[str, str]]
Score = Callable[[Pairs], np.ndarray]
# hidden size, layers, heads, inner size, family; MiniLM-L6, XLM-RoBERTa base and large, and one
# small enough that all but the model shows
SIZES = {
    "tiny": (64, 1, 2, 128, "Bert"),
    "minilm": (384, 6, 12, 1536, "Bert"),
    "base": (768, 12, 12, 3072, "XLMRoberta"),
    "large": (1024, 24, 16, 4096, "XLMRoberta"),
}
# Words of query and doc, lowest and highest.
PROFILES = {
    "short/short": ((4, 12), (10, 40)),
    "short/long": ((4, 12), (200, 400)),
    "long/long": ((100, 180), (200, 400)),
    "mixed": ((3, 180), (5, 400)),
}
MAX_LENGTH = 512


def save_tokenizer(folder: Path) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer of all-MiniLM-L6-v2."""
    found = resolve_model("sentence-transformers/all-MiniLM-L6-v2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(found))
    tokenizer.model_max_length = MAX_LENGTH
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_model(folder: Path, size: str) -> Path:
    """A model of a real size with random weights, and a real tokenizer."""
    hidden, layers, heads, inner, family = SIZES[size]
    tokenizer = save_tokenizer(folder)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer), hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, intermediate_size=inner, num_labels=1,
        max_position_embeddings=MAX_LENGTH + 2, pad_token_id=tokenizer.pad_token_id,
        type_vocab_size=2,
    )  # fmt: skip
    torch.manual_seed(0)
    getattr(transformers, f"{family}ForSequenceClassification")(config).save_pretrained(folder)
    return folder


def collection_pairs(path: str, queries: int, depth: int, cache: Path) -> Pairs:
    """The best `depth` docs by BM25 of the first queries."""
    dataset = FolderDataset(path)
    retriever = BM25Retriever(cache_dir=cache)
    retriever.index(dataset)
    chosen = list(dataset.queries)[:queries]
    texts = {query.query_id: query.text for query in chosen}
    run = retriever.retrieve(chosen, depth)
    docs = dataset.lookup(set(run.doc_ids.tolist()))
    return [(texts[query_id], docs[d].render()) for query_id, found in run for d in found]


def profile_pairs(profile: str, count: int, words: Sequence[str]) -> Pairs:
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


def sentence_transformers(folder: Path, device: str, dtype: str, batch_size: int) -> Score:
    model = CrossEncoder(
        str(folder), device=device, max_length=MAX_LENGTH,
        model_kwargs={"dtype": getattr(torch, dtype)},
    )  # fmt: skip
    identity = torch.nn.Identity()
    return lambda pairs: model.predict(
        pairs, batch_size=batch_size, activation_fn=identity, show_progress_bar=False
    )


def flag_embedding(folder: Path, device: str, half: bool) -> Score:
    import FlagEmbedding

    model = FlagEmbedding.FlagReranker(
        str(folder), use_fp16=half, devices=device, batch_size=128, max_length=MAX_LENGTH
    )
    return lambda pairs: np.asarray(model.compute_score(pairs))


def plain(folder: Path, device: str, dtype: str) -> Score:
    """As model cards show it: tokenise 32 pairs, pad them, run the model, and so on."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=getattr(torch, dtype)
    )
    model = model.eval().to(device)

    def score(pairs: Pairs) -> np.ndarray:
        found = []
        with torch.inference_mode():
            for start in range(0, len(pairs), 32):
                batch = tokenizer(
                    pairs[start : start + 32], padding=True, truncation=True,
                    max_length=MAX_LENGTH, return_tensors="pt",
                ).to(device)  # fmt: skip
                found.append(model(**batch).logits.view(-1).float().cpu())
        return torch.cat(found).numpy()

    return score


def engine(folder: Path, device: str, dtype: str) -> Score:
    """The engine with an empty token cache each time: texts are tokenised within the time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    scorer = ClassifierScorer(str(folder), max_length=MAX_LENGTH, dtype=dtype, device=device)

    def score(pairs: Pairs) -> np.ndarray:
        with tempfile.TemporaryDirectory() as cache:
            scorer._engine._cache = TokenCache(tokenizer, Path(cache))
            return scorer.score(pairs)

    return score


def timed(score: Score, pairs: Pairs, device: str) -> float:
    """Seconds."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    score(pairs)
    return time.perf_counter() - start


def best_by_hand(folder: Path, device: str, pairs: Pairs) -> tuple[str, int]:
    """sentence-transformers' fastest dtype and batch size on a sample of the pairs."""
    cuda = device.startswith("cuda")
    sample = pairs[:: max(len(pairs) // (2048 if cuda else 64), 1)]
    dtypes = ("float16", "bfloat16") if cuda else ("float32", "bfloat16")
    sizes = (32, 64, 128, 256, 512, 1024) if cuda else (4, 16, 32)
    seconds = {}
    for dtype in dtypes:
        for size in sizes:
            score = sentence_transformers(folder, device, dtype, size)
            score(sample[:size])
            seconds[dtype, size] = timed(score, sample, device)
    return min(seconds, key=seconds.__getitem__)


def compare(
    folder: Path, pairs: Pairs, device: str, rounds: int, label: str, chosen: Sequence[str]
) -> None:
    dtype, size = best_by_hand(folder, device, pairs)
    auto = dtype_name("auto", device)
    half = device.startswith("cuda")
    peers: dict[str, Score] = {
        "sentence-transformers, default": sentence_transformers(folder, device, "float32", 32),
        f"sentence-transformers, {dtype}, {size}": sentence_transformers(
            folder, device, dtype, size
        ),
        f"FlagEmbedding, {'float16' if half else 'float32'}": flag_embedding(folder, device, half),
        f"transformers alone, {dtype}": plain(folder, device, dtype),
        "evalkit, float32": engine(folder, device, "float32"),
        f"evalkit, {auto} (auto)": engine(folder, device, auto),
    }
    peers = {name: score for name, score in peers.items() if name.startswith(tuple(chosen))}
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for score in peers.values():
        score(pairs[:64])
    for _ in range(rounds):
        for name, score in peers.items():
            seconds[name].append(timed(score, pairs, device))
            print(f"    {name}: {seconds[name][-1]:.2f} s", flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ours = min(value for name, value in medians.items() if name.startswith("evalkit"))
    print(f"\n{label}: {len(pairs)} pairs, {device}, {torch.get_num_threads()} threads")
    for name, value in medians.items():
        print(
            f"  {name:40} {value:8.2f} s {len(pairs) / value:10.1f} pairs/s   "
            f"evalkit is {value / ours:5.2f} x as fast"
        )


def matrix_peak(device: str, dtype: torch.dtype, size: int = 8192) -> float:
    """Multiplications and additions a second of one large matrix product."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        left @ right
    torch.cuda.synchronize()
    return 20 * 2 * size**3 / (time.perf_counter() - start)


def utilisation(folder: Path, size: str, pairs: Pairs, device: str) -> None:
    """What part of the measured matrix peak the engine's own arithmetic is: what it leaves out, or
    would spend on padding, does not count."""
    hidden, layers, _, inner, _ = SIZES[size]
    dtype = dtype_name("auto", device)
    score = engine(folder, device, dtype)
    score(pairs[:64])
    seconds = timed(score, pairs, device)
    with tempfile.TemporaryDirectory() as cache:
        scorer = ClassifierScorer(str(folder), max_length=MAX_LENGTH, cache_dir=cache)
        lengths = scorer._engine.window(pairs).lengths
    tokens, pairs_read = float(lengths.sum()), len(lengths)
    products = 2 * (4 * hidden**2 + 2 * hidden * inner)  # a token's, in a layer
    attention = 4 * hidden * (lengths.astype(float) ** 2).sum()
    # Of the last layer only what is computed: keys and values of all tokens, the rest of the first.
    keys = 2 * 2 * hidden**2
    last = keys * tokens + (products - keys) * pairs_read + 4 * hidden * tokens
    done = ((layers - 1) * (products * tokens + attention) + last) / seconds
    peak = matrix_peak(device, getattr(torch, dtype))
    print(f"  {done / 1e12:.0f} of {peak / 1e12:.0f} TFLOP/s, {100 * done / peak:.0f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--collection", help="a folder in BEIR layout")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--profiles", action="store_true", help="the four length profiles instead")
    parser.add_argument("--pairs", type=int, default=2500, help="of each profile")
    parser.add_argument("--size", choices=SIZES, default="minilm")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=[""], help="how their names begin")
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder) / "model", given.size)
        if given.collection:
            pairs = collection_pairs(given.collection, given.queries, given.depth, Path(folder))
            compare(
                model, pairs, given.device, given.rounds, f"{given.size}, collection", given.peers
            )
        if given.profiles:
            tokenizer = transformers.AutoTokenizer.from_pretrained(model)
            words = [word for word in tokenizer.get_vocab() if word.isalpha() and len(word) > 2]
            for profile in PROFILES:
                pairs = profile_pairs(profile, given.pairs, sorted(words))
                compare(
                    model,
                    pairs,
                    given.device,
                    given.rounds,
                    f"{given.size}, {profile}",
                    given.peers,
                )
                if given.device.startswith("cuda"):
                    utilisation(model, given.size, pairs, given.device)


if __name__ == "__main__":
    main()
