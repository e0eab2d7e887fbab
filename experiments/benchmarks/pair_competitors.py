"""Those whom pair_scoring.py compares: each makes logits of pairs under the model in a folder."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np
import torch
import transformers
from pair_workload import Pairs
from sentence_transformers import CrossEncoder

from evalkit.models import dtype_name
from evalkit.rerankers.classifier import ClassifierScorer
from evalkit.scoring.forward import WithoutPadding
from evalkit.scoring.tokens import TokenCache

Score = Callable[[Pairs], np.ndarray]
AS_IT_COMES = "sentence-transformers, as it comes"
BY_HAND = "sentence-transformers, at its best"
FLAG, FLAG_HALF = "FlagEmbedding, float32", "FlagEmbedding, use_fp16=True"
PLAIN = "transformers alone"


class Place(NamedTuple):
    """What is the same for all: the model's folder, the device, and the tokens a pair may have."""

    folder: Path
    device: str
    max_length: int

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")


def sentence_transformers(place: Place, dtype: str, batch_size: int) -> Score:
    model = CrossEncoder(
        str(place.folder), device=place.device, max_length=place.max_length,
        model_kwargs={"dtype": getattr(torch, dtype)},
    )  # fmt: skip
    identity = torch.nn.Identity()
    return lambda pairs: model.predict(
        pairs, batch_size=batch_size, activation_fn=identity, show_progress_bar=False
    )


def flag_embedding(place: Place, half: bool) -> Score:
    import FlagEmbedding

    model = FlagEmbedding.FlagReranker(
        str(place.folder), use_fp16=half, devices=place.device, batch_size=128,
        max_length=place.max_length,
    )  # fmt: skip
    return lambda pairs: np.asarray(model.compute_score(pairs))


@cache
def flag_fault() -> str:
    """Why FlagEmbedding cannot be used, "" where it can: each release of it fits some releases of
    transformers only."""
    try:
        importlib.import_module("FlagEmbedding")
    except ImportError as error:
        return (
            f"FlagEmbedding {version('FlagEmbedding')} cannot be imported beside transformers "
            f"{transformers.__version__} and is left out: {error}"
        )
    return ""


def plain(place: Place, dtype: str) -> Score:
    """As model cards show it: tokenise 32 pairs, pad them, run the model, and so on."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(place.folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        place.folder, dtype=getattr(torch, dtype)
    )
    model = model.eval().to(place.device)

    def score(pairs: Pairs) -> np.ndarray:
        found = []
        with torch.inference_mode():
            for start in range(0, len(pairs), 32):
                batch = tokenizer(
                    pairs[start : start + 32], padding=True, truncation=True,
                    max_length=place.max_length, return_tensors="pt",
                ).to(place.device)  # fmt: skip
                found.append(model(**batch).logits.view(-1).float().cpu())
        return torch.cat(found).numpy()

    return score


class Ours:
    """The engine with an empty token cache each time: texts are tokenised within the time."""

    def __init__(self, place: Place, dtype: str, graphs: bool = False) -> None:
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(place.folder)
        self.dtype, self._scorer = dtype, ClassifierScorer(
            str(place.folder), max_length=place.max_length, dtype=dtype, device=place.device,
            cuda_graphs=graphs,
        )  # fmt: skip

    def __call__(self, pairs: Pairs) -> np.ndarray:
        with tempfile.TemporaryDirectory() as cache:
            self._scorer._engine._cache = TokenCache(self._tokenizer, Path(cache))
            return self._scorer.score(pairs)

    def lengths(self, pairs: Pairs) -> np.ndarray:
        """Tokens of each pair as the model reads it: int64, shape (n,)."""
        with tempfile.TemporaryDirectory() as cache:
            self._scorer._engine._cache = TokenCache(self._tokenizer, Path(cache))
            return self._scorer._engine.window(pairs).lengths

    @property
    def first_alone(self) -> bool:
        """Whether the last layer is computed for first tokens alone."""
        return isinstance(self._scorer._engine._loaded.forward, WithoutPadding)


class Took(NamedTuple):
    """Seconds by the clock, and of this process's processors."""

    wall: float
    processor: float


def timed(score: Score, pairs: Pairs, place: Place) -> tuple[Took, np.ndarray]:
    """What it took, and the logits: float32, shape (n,)."""
    if place.cuda:
        torch.cuda.synchronize()
    start, used = perf_counter(), process_time()
    found = score(pairs)
    took = Took(perf_counter() - start, process_time() - used)
    return took, np.asarray(found, dtype=np.float32).reshape(-1)


def best_by_hand(place: Place, pairs: Pairs) -> tuple[str, int]:
    """sentence-transformers' fastest dtype and batch size on a sample of the pairs."""
    sample = pairs[:: max(len(pairs) // (2048 if place.cuda else 64), 1)]
    # float32 too on a CPU, as few multiply bfloat16 faster, and hardly one float16.
    dtypes = ("float16", "bfloat16") if place.cuda else ("float32", "bfloat16")
    sizes = (32, 64, 128, 256, 512, 1024) if place.cuda else (4, 16, 32)
    seconds = {}
    for dtype in dtypes:
        for size in sizes:
            score = sentence_transformers(place, dtype, size)
            score(sample[:size])
            seconds[dtype, size] = timed(score, sample, place)[0].wall
    return min(seconds, key=seconds.__getitem__)


def competitors(
    place: Place, pairs: Pairs, chosen: Sequence[str], graphs: bool
) -> dict[str, Score]:
    """Those whose names begin in one of the `chosen` ways, ready to score; ours come last, the
    default (dtype=auto) at the very end, always. graphs: ours with CUDA graphs, too."""

    def wanted(name: str) -> bool:
        return name.startswith(tuple(chosen))

    auto = dtype_name("auto", place.device)
    dtype, size = auto, 32
    if wanted(BY_HAND) or wanted(PLAIN):
        dtype, size = best_by_hand(place, pairs)
    found: dict[str, Score] = {}
    if wanted(AS_IT_COMES):
        found[AS_IT_COMES] = sentence_transformers(place, "float32", 32)
    if wanted(BY_HAND):
        found[f"{BY_HAND}: {dtype}, {size}"] = sentence_transformers(place, dtype, size)
    flag = not flag_fault()
    if flag and wanted(FLAG):
        found[FLAG] = flag_embedding(place, half=False)
    if flag and wanted(FLAG_HALF) and place.cuda:
        found[FLAG_HALF] = flag_embedding(place, half=True)
    if wanted(PLAIN):
        found[f"{PLAIN}, {dtype}"] = plain(place, dtype)
    if wanted("evalkit, float32") and auto != "float32":
        found["evalkit, float32"] = Ours(place, "float32")
    if graphs:
        found[f"evalkit, {auto}, cuda_graphs"] = Ours(place, auto, graphs=True)
    return {**found, f"evalkit, {auto} (auto)": Ours(place, auto)}
