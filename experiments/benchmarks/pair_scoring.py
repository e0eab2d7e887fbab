"""Pairs a second under a cross-encoder: evalkit's engine against its peers, in one run.

    python experiments/benchmarks/pair_scoring.py --collection PATH/scifact --model PATH_OR_NAME
    python experiments/benchmarks/pair_scoring.py --collection PATH/scifact --size modernbert
    python experiments/benchmarks/pair_scoring.py --profiles --device cuda --size large

The pairs are the best docs by BM25 of a collection's queries, or generated ones of four length
profiles. The model is a real one (--model: a folder, a name on the hub, evalkit:NAME, a LoRA
adapter), or has random weights and the shape of a real one (--size). Speed does not depend on what
a model has learned, but a random one is not the real one's equal in everything: all have the
vocabulary of all-MiniLM-L6-v2 (30,522 tokens, where XLM-RoBERTa has 250,002 and ModernBERT 50,368),
so that a text has other tokens than it would have there, tables of embeddings are smaller and
tokenising may cost more or less; and its logits lie closer together, so that a difference means
more than it would there: their spread is printed.

Peers are sentence-transformers' CrossEncoder as it comes (float32, 32 pairs a batch) and at its
best setting found by hand (every dtype and batch size here, on its PyTorch back end: neither ONNX,
OpenVINO nor torch.compile), FlagEmbedding's FlagReranker in float32 and with use_fp16=True (which
it ignores on the CPU; it computes the first of its batches twice, to find out whether it fits), and
transformers without any tool around it, padding 32 pairs at a time. All read the same folder.
Rounds are interleaved, the median counts, no score is reused: evalkit tokenises within the time.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
import transformers
from pair_arithmetic import matrix_peak, operations
from pair_competitors import (
    AS_IT_COMES,
    Ours,
    Place,
    Score,
    Took,
    competitors,
    flag_fault,
    sentence_transformers,
    timed,
)
from pair_workload import (
    MAX_LENGTH,
    PROFILES,
    SIZES,
    Pairs,
    collection_pairs,
    profile_pairs,
    save_model,
    save_resolved,
    words_of,
)

from evalkit.errors import EvalkitError


class Measured(NamedTuple):
    """A competitor: the median of its rounds, and its logits, float32, shape (n,)."""

    took: Took
    logits: np.ndarray


def measure(
    scores: Mapping[str, Score], pairs: Pairs, place: Place, rounds: int
) -> dict[str, Measured]:
    """Each after a warm-up, in turn, `rounds` times."""
    took: dict[str, list[Took]] = {name: [] for name in scores}
    logits: dict[str, np.ndarray] = {}
    for score in scores.values():
        score(pairs[:64])
    for _ in range(rounds):
        for name, score in scores.items():
            once, logits[name] = timed(score, pairs, place)
            took[name].append(once)
            print(f"    {name}: {once.wall:.2f} s", flush=True)
    return {
        name: Measured(Took(*map(median, zip(*took[name], strict=True))), logits[name])
        for name in scores
    }


def compare(place: Place, pairs: Pairs, given: argparse.Namespace, label: str) -> None:
    """Measure all on these pairs and print a table."""
    scores = competitors(place, pairs, given.peers, given.graphs)
    found = measure(scores, pairs, place, given.rounds)
    if AS_IT_COMES in found:
        reference = found[AS_IT_COMES].logits
    else:
        reference = timed(sentence_transformers(place, "float32", 32), pairs, place)[1]
    ours = list(scores)[-1]
    lengths = scores[ours].lengths(pairs)
    heading(place, label, lengths, given.rounds)
    peaks: dict[str, float] = {}
    for name, (took, logits) in found.items():
        off = np.abs(logits - reference)
        cells = (
            name, f"{took.wall:.2f}", f"{took.processor:.2f}", f"{len(pairs) / took.wall:,.1f}",
            f"{lengths.sum() / took.wall:,.0f}", f"{took.wall / found[ours].took.wall:.2f}",
            f"{off.max():.1e}", f"{off.mean():.1e}",
            peak_share(place, scores[name], lengths, took.wall, peaks),
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")
    footnotes(place, reference, peaks)


def heading(place: Place, label: str, lengths: np.ndarray, rounds: int) -> None:
    packages = ("torch", "transformers", "sentence-transformers", "FlagEmbedding")
    print(
        f"\n{label}: {len(lengths):,} pairs, {lengths.mean():.0f} tokens on average, "
        f"{lengths.max()} at most (limit {place.max_length}); {place.device}, "
        f"{torch.get_num_threads()} threads, median of {rounds}; "
        + ", ".join(f"{name} {version(name)}" for name in packages)
    )
    print(
        "\n| scorer | s | CPU s | pairs/s | tokens/s | × ours | largest difference | mean | "
        "of peak |\n|---|---|---|---|---|---|---|---|---|"
    )


def peak_share(
    place: Place, score: Score, lengths: np.ndarray, seconds: float, peaks: dict[str, float]
) -> str:
    """For evalkit's engine, what part of the measured matrix peak its arithmetic is; "" for others,
    whose padding we cannot see. peaks: by dtype, those that are measured are put there."""
    if not isinstance(score, Ours):
        return ""
    config = transformers.AutoConfig.from_pretrained(place.folder)
    done = operations(config, lengths, score.first_alone)
    if done is None:
        return "unknown"
    if score.dtype not in peaks:
        peaks[score.dtype] = matrix_peak(place.device, getattr(torch, score.dtype))
    return f"{100 * done / seconds / peaks[score.dtype]:.1f} %"


def footnotes(place: Place, reference: np.ndarray, peaks: Mapping[str, float]) -> None:
    """What the table's columns mean."""
    print(
        f"\n× ours: seconds over those of the last line. Differences: of logits, from "
        f"{AS_IT_COMES!r} (float32), whose own lie between {reference.min():.2f} and "
        f"{reference.max():.2f}, standard deviation {reference.std():.2g}."
    )
    print(
        flag_fault()
        or "FlagEmbedding cuts a query to 3/4 of the limit and then only the doc, where the others "
        "cut the longer text first; and under transformers 5 it tokenises again what it decodes "
        "from tokens. A pair that either changes has another score."
    )
    if not place.cuda and not flag_fault():
        print("FlagEmbedding ignores use_fp16 on the CPU: float32 only.")
    for dtype, peak in peaks.items():
        print(
            f"Of peak: products for real tokens, without padding, of the {peak / 1e12:.2f} TFLOP/s "
            f"of a large matrix product in {dtype} here."
        )


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--collection", help="a folder in BEIR layout")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--depth", type=int, default=50, help="docs a query")
    parser.add_argument(
        "--profiles", nargs="*", choices=PROFILES, metavar="PROFILE",
        help=f"generated pairs of these lengths, all four by default: {', '.join(PROFILES)}",
    )  # fmt: skip
    parser.add_argument("--pairs", type=int, default=2500, help="of each profile")
    parser.add_argument("--model", help="real weights: a folder or a name, in place of --size")
    shapes = ", ".join(f"{size} ({shape.named})" for size, shape in SIZES.items())
    parser.add_argument("--size", choices=SIZES, default="minilm", help=f"random: {shapes}")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--graphs", action="store_true",
        help="evalkit with cuda_graphs=true, too: for few pairs (--pairs 50) on CUDA",
    )  # fmt: skip
    parser.add_argument("--peers", nargs="+", default=[""], help="how their names begin")
    return parser


def main() -> None:
    parser = arguments()
    given = parser.parse_args()
    if given.collection is None and given.profiles is None:
        parser.error("no pairs: give --collection PATH, --profiles, or both")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        run(given)
    except EvalkitError as error:
        parser.error(str(error))


def run(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        if given.model:
            name, max_length = given.model, save_resolved(model, given.model)
        else:
            name, max_length = f"{SIZES[given.size].named}, random", MAX_LENGTH
            save_model(model, given.size)
        place = Place(model, given.device, max_length)
        if given.collection:
            pairs = collection_pairs(given.collection, given.queries, given.depth, Path(folder))
            compare(place, pairs, given, f"{name}, {Path(given.collection).name}")
        if given.profiles is not None:
            for profile in given.profiles or PROFILES:
                pairs = profile_pairs(profile, given.pairs, words_of(model))
                compare(place, pairs, given, f"{name}, {profile}")


if __name__ == "__main__":
    main()
