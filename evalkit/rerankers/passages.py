"""Long documents: windows of tokens scored one by one, and aggregated (Dai and Callan, SIGIR 2019).

FirstP and MaxP are theirs, as is SumP, which favours long docs where scores are positive and
punishes them where they are negative: logits are both. What it makes of length is reported. The
mean of the best m windows (Zhang, Yates and Lin, ECIR 2021) has no such bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evalkit.errors import ConfigError
from evalkit.model_files import model_digest
from evalkit.models import resolve_model
from evalkit.rerankers.composed import ComposedReranker
from evalkit.rerankers.pair_lengths import load_tokenizer
from evalkit.rerankers.pointwise import PairCounts, PointwiseReranker, TextPair, blocks
from evalkit.run import Run
from evalkit.types import Dataset, Doc, Neighbours, Query, fingerprint

Aggregate = Literal["first_p", "max_p", "sum_p", "mean_top"]
AGGREGATES = ("first_p", "max_p", "sum_p", "mean_top")
_DOCS = 256


class PassageReranker(ComposedReranker):
    """Reranks docs by the scores that another reranker gives to their windows.

    of: a selected reranker that scores pairs; its template, length and store are used, so that no
    window is scored twice. window, stride: tokens; the last window ends with the doc and may be
    shorter. aggregate: first_p, max_p, sum_p, or mean_top, the mean of the best `top_m`.
    title_first: the windows are of the doc's text, each under the doc's title; otherwise of title
    and text as the template joins them. tokenizer: path or hub id; None for the other reranker's.
    A doc of one window is given to the other reranker as it is.
    """

    depends_on_list = False

    def __init__(
        self,
        of: str = "cross_encoder",
        window: int = 256,
        stride: int = 128,
        aggregate: Aggregate = "max_p",
        top_m: int = 3,
        title_first: bool = False,
        tokenizer: str | None = None,
    ) -> None:
        if aggregate not in AGGREGATES:
            expected = ", ".join(AGGREGATES)
            raise ConfigError(f"passages: aggregate={aggregate}; expected one of {expected}")
        if not 1 <= stride <= window:
            raise ConfigError(
                f"passages: window={window}, stride={stride}; expected 1 ≤ stride ≤ window, or "
                "text between two windows is never read"
            )
        if top_m < 1:
            raise ConfigError(f"passages: top_m={top_m}; expected at least 1")
        super().__init__([of])
        self.of, self.window, self.stride = of, window, stride
        self.aggregate, self.top_m, self.title_first = aggregate, top_m, title_first
        self.tokenizer_name = tokenizer

    def connect(self, name: str, neighbours: Neighbours) -> None:
        """Find the reranker whose scores are aggregated; `name` is this one's own."""
        super().connect(name, neighbours)
        part = self.parts[self.of]
        if not isinstance(part, PointwiseReranker):
            raise ConfigError(
                f"reranker.{name}.of: '{self.of}' does not score pairs of texts; choose one that "
                f"does: reranker=[cross_encoder,{name}] reranker.{name}.of=cross_encoder"
            )
        if self.tokenizer_name is None and not hasattr(part.scorer, "tokenizer"):
            raise ConfigError(
                f"reranker.{name}: '{self.of}' has no tokenizer to cut windows by; name one: "
                f"reranker.{name}.tokenizer=NAME_OR_PATH"
            )

    def for_retriever(self, retriever: str) -> PassageReranker:
        """Itself: nothing is fitted to a retriever's candidates."""
        return self

    def given(self, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """Nothing that is known from the sizes: the part is given windows."""
        return {}

    def estimate(self, sizes: np.ndarray) -> dict[str, int]:
        """Nothing: how many windows there are is known from the docs alone, see `count`."""
        return {}

    @property
    def _part(self) -> PointwiseReranker:
        part = self.parts[self.of]
        if not isinstance(part, PointwiseReranker):
            raise ConfigError(f"reranker '{self.of}' does not score pairs of texts")
        return part

    @cached_property
    def _tokenizer_folder(self) -> Path | None:
        return None if self.tokenizer_name is None else resolve_model(self.tokenizer_name)

    @property
    def fingerprint(self) -> str:
        folder = self._tokenizer_folder
        return fingerprint(
            "Passages",
            parts=self.part_fingerprints(),
            window=self.window,
            stride=self.stride,
            aggregate=self.aggregate,
            top_m=self.top_m if self.aggregate == "mean_top" else None,
            title_first=self.title_first,
            tokenizer=None if folder is None else model_digest(folder),
        )

    @cached_property
    def _tokenizer(self) -> Any:
        folder = self._tokenizer_folder
        if folder is None:
            tokenizer = self._part.scorer.tokenizer  # type: ignore[attr-defined]
        else:
            tokenizer = load_tokenizer(folder, str(self.tokenizer_name))
        if not tokenizer.is_fast:
            raise ConfigError(
                f"reranker.{self.name}: {type(tokenizer).__name__} does not tell where its tokens "
                f"are in a text; name a model with a tokenizer.json: reranker.{self.name}.tokenizer"
            )
        return tokenizer

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """The candidates under the aggregates of their windows' scores. `details` tells windows a
        doc, the docs of several windows, and the candidates that still lose text in a window."""
        scores = np.empty(len(candidates), dtype=np.float32)
        counts, cut = PairCounts(0, 0, 0), 0
        docs: dict[str, int] = {}
        for rows, texts in self._blocks(queries, dataset, candidates, docs):
            found = self._part.score_texts([pair for pairs in texts for pair in pairs])
            lengths = np.array([len(pairs) for pairs in texts], dtype=np.int64)
            starts = np.cumsum(lengths) - lengths
            scores[rows] = aggregated(found.scores, lengths, self.aggregate, self.top_m)
            counts = counts + found.counts
            if len(lengths):
                cut += int(np.logical_or.reduceat(found.truncated, starts).sum())
        sizes = np.array([docs[doc_id] for _, ids in candidates for doc_id in ids], dtype=np.int64)
        self.work = counts._asdict()
        self.details.update(_report(np.array(list(docs.values())), sizes, scores))
        if self._part.tells_truncation:
            self.details["truncated_share"] = round(cut / max(len(candidates), 1), 6)
        return candidates.with_scores(scores)

    def count(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> PairCounts:
        """The windows that `rerank` would score and reuse; scores nothing."""
        counts = PairCounts(0, 0, 0)
        for _, texts in self._blocks(queries, dataset, candidates, {}):
            counts += self._part.count_texts([pair for pairs in texts for pair in pairs])
        return counts

    def _blocks(
        self, queries: Sequence[Query], dataset: Dataset, candidates: Run, sizes: dict[str, int]
    ) -> Iterator[tuple[slice, list[list[TextPair]]]]:
        """Where a block of candidates is, and the pairs of query and window of each of them.

        sizes: takes the number of windows of each doc met.
        """
        query_texts = {query.query_id: query.text for query in queries}
        for rows, block in blocks(candidates):
            docs = dataset.lookup(block.vocabulary[np.unique(block.docs)].tolist())
            windows = self.windows(docs.values())
            sizes |= {doc_id: len(texts) for doc_id, texts in windows.items()}
            read = 1 if self.aggregate == "first_p" else None
            yield (
                rows,
                [
                    [(query_texts[q], window) for window in windows[d][:read]]
                    for q, ids in block
                    for d in ids
                ],
            )

    def windows(self, docs: Iterable[Doc]) -> dict[str, list[str]]:
        """doc_id → what the other reranker is to read of it, in the doc's order; at least one."""
        template, all_docs = self._part.doc_template, list(docs)
        found: dict[str, list[str]] = {}
        for start in range(0, len(all_docs), _DOCS):
            part = all_docs[start : start + _DOCS]
            texts = [doc.text if self.title_first else doc.render(template) for doc in part]
            encoded = self._tokenizer(
                texts, add_special_tokens=False, truncation=False, verbose=False,
                return_offsets_mapping=True,
            )  # fmt: skip
            for doc, text, offsets in zip(part, texts, encoded["offset_mapping"], strict=True):
                if len(offsets) <= self.window:
                    found[doc.doc_id] = [doc.render(template)]
                    continue
                cut = cut_windows(text, offsets, self.window, self.stride)
                if self.title_first:
                    cut = [doc._replace(text=window).render(template) for window in cut]
                found[doc.doc_id] = cut
        return found


def cut_windows(
    text: str, offsets: Sequence[tuple[int, int]], window: int, stride: int
) -> list[str]:
    """Parts of a text, `window` tokens each, a new one every `stride` tokens, to the text's end.

    offsets: where each token begins and ends in the text; more than `window` of them.
    """
    last = len(offsets) - window
    starts = range(0, last + stride, stride)
    ends = [min(start + window, len(offsets)) - 1 for start in starts]
    return [
        text[offsets[start][0] : offsets[end][1]] for start, end in zip(starts, ends, strict=True)
    ]


def aggregated(scores: np.ndarray, sizes: np.ndarray, how: Aggregate, top_m: int = 1) -> np.ndarray:
    """One score a doc from its windows': float32, shape (n,).

    scores: of all docs' windows, doc after doc. sizes: windows of each of n docs, at least one.
    """
    if len(sizes) == 0:
        return np.empty(0, dtype=np.float32)
    starts = np.cumsum(sizes) - sizes
    values = scores.astype(np.float64)
    if how == "first_p":
        return scores[starts]
    if how == "max_p":
        return np.maximum.reduceat(scores, starts)
    if how == "sum_p":
        return np.add.reduceat(values, starts).astype(np.float32)
    doc = np.repeat(np.arange(len(sizes)), sizes)
    best = values[np.lexsort((-values, doc))]
    kept = np.arange(len(best)) - starts[doc] < top_m
    total = np.add.reduceat(np.where(kept, best, 0.0), starts)
    return (total / np.minimum(sizes, top_m)).astype(np.float32)


def _report(docs: np.ndarray, sizes: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """docs: windows of each distinct doc. sizes, scores: windows and score of each candidate."""
    if len(docs) == 0:
        return {}
    varied = len(scores) > 1 and np.ptp(sizes) > 0 and np.ptp(scores) > 0
    correlation = float(np.corrcoef(sizes, scores)[0, 1]) if varied else 0.0
    return {
        "windows_a_doc": round(float(docs.mean()), 4),
        "several_windows_share": round(float((docs > 1).mean()), 6),
        # Pearson's, of a candidate's number of windows and its score: what sum_p makes of length.
        "length_correlation": round(correlation, 4),
    }
