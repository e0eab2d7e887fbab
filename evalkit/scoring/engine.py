"""The pair-scoring engine: logits of (query, doc) pairs under a cross-encoder, at full speed.

Each distinct text is tokenised once (see `tokens`); pairs are assembled from token ids (see
`templates`), in batches of a token budget, longest first (see `batches`), and read without padding
where the model allows (see `encoder`, `varlen`). While a window of pairs is computed, the next one
is tokenised. On CUDA nothing waits for the GPU but the end of a window; on the CPU each core reads
batches of its own, which a small model uses better than all cores together on one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.errors import ConfigError, ScoreError
from evalkit.measured import is_cold
from evalkit.scoring.ahead import ahead
from evalkit.scoring.batches import batches
from evalkit.scoring.budgets import CPU_BUDGET, cuda_budget
from evalkit.scoring.forward import Forward, forward_for, on_device
from evalkit.scoring.templates import Packed, PairTemplate, Tokens, Truncation, kept_lengths
from evalkit.scoring.tokens import TokenCache

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Pair = tuple[str, str]
# Pairs that are tokenised and put in order of length together.
WINDOW = 16_384


class Window(NamedTuple):
    """Pairs whose texts are tokenised. at_query, at_doc: each pair's texts, shape (n,); lengths:
    tokens of each pair after the cut, special tokens included; kept: of its query and doc."""

    queries: Tokens
    docs: Tokens
    at_query: np.ndarray
    at_doc: np.ndarray
    kept: tuple[np.ndarray, np.ndarray]
    lengths: np.ndarray


class Loaded(NamedTuple):
    """A model that is ready: how it is run, where, and how many tokens a batch holds there."""

    forward: Forward
    device: torch.device
    budget: int


class PairEngine:
    """Scores pairs under one classifier of transformers with one logit.

    load: gives the model, in eval mode, on its device, in float32; called when the first pair is
    scored. tokenizer: the model's, a fast one. tokens: the folder of token caches. max_length:
    tokens of a pair, special ones included. dtype: of matrix products. query_limit: tokens to which
    a query is cut first. budget: tokens a batch, None to find it. graphs: see `graphs`; on CUDA.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        tokenizer: Any,
        tokens: Path,
        max_length: int,
        dtype: torch.dtype,
        truncation: Truncation = "longest_first",
        query_limit: int | None = None,
        budget: int | None = None,
        graphs: bool = False,
    ) -> None:
        self._load, self._dtype, self._graphs = load, dtype, graphs
        self._truncation, self._query_limit = truncation, query_limit
        self._types = "token_type_ids" in tokenizer.model_input_names
        self.template = PairTemplate.of(tokenizer)
        self.room = max_length - self.template.added
        if self.room < 1:
            raise ConfigError(
                f"max_length={max_length}: the model's special tokens alone take "
                f"{self.template.added}; expected more"
            )
        self._cache = TokenCache(tokenizer, tokens)
        self._lock = threading.Lock()
        self._given_budget = budget

    def score(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Logits: float32, shape (n,), in input order."""
        import torch

        scores = np.empty(len(pairs), dtype=np.float32)
        starts = range(0, len(pairs), WINDOW)
        windows = (pairs[start : start + WINDOW] for start in starts)
        with torch.inference_mode():
            for start, window in zip(starts, ahead(self.window, windows), strict=True):
                scores[start : start + len(window.lengths)] = self._compute(window)
        return scores

    def truncated(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Which pairs lose tokens to max_length: bool, shape (n,); loads no weights."""
        given = [self._lengths([pair[side] for pair in pairs]) for side in (0, 1)]
        kept = self._kept(given[0], given[1])
        return np.asarray((kept[0] < given[0]) | (kept[1] < given[1]))

    def _kept(self, query: np.ndarray, doc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        limited = query if self._query_limit is None else np.minimum(query, self._query_limit)
        return kept_lengths(limited, doc, self.room, self._truncation)

    def _lengths(self, texts: Sequence[str]) -> np.ndarray:
        distinct, at = _distinct(texts)
        with self._lock:
            return self._cache.lengths(self._cache.places(distinct))[at]

    def window(self, pairs: Sequence[Pair]) -> Window:
        """The pairs, tokenised."""
        queries, at_query = self._query_tokens([query for query, _ in pairs])
        docs, at_doc = self._tokens([doc for _, doc in pairs])
        kept = self._kept(queries.lengths[at_query], docs.lengths[at_doc])
        lengths = kept[0] + kept[1] + self.template.added
        return Window(queries, docs, at_query, at_doc, kept, lengths)

    def packed(self, window: Window, at: np.ndarray) -> Packed:
        """The pairs at these positions of a window, as the model reads them."""
        kept = window.kept[0][at], window.kept[1][at]
        texts = window.queries, window.docs, window.at_query[at], window.at_doc[at]
        return self.template.assemble(*texts, kept)

    def _tokens(self, texts: Sequence[str]) -> tuple[Tokens, np.ndarray]:
        distinct, at = _distinct(texts)
        with self._lock:  # the next window is tokenised in a thread
            return self._cache.gather(self._cache.places(distinct)), at

    def _query_tokens(self, texts: Sequence[str]) -> tuple[Tokens, np.ndarray]:
        if not is_cold():
            return self._tokens(texts)
        distinct, at = _distinct(texts)
        with self._lock:
            return self._cache.fresh(distinct), at

    @cached_property
    def _loaded(self) -> Loaded:
        model = self._load()
        cuda = model.device.type == "cuda"
        budget = cuda_budget(model, self._dtype) if cuda else CPU_BUDGET
        # The model itself is not kept: what reads without padding has weights of its own.
        forward = forward_for(model, self._dtype, self._types, self._graphs)
        return Loaded(forward, model.device, budget)

    @cached_property
    def _budget(self) -> int:
        return self._loaded.budget if self._given_budget is None else self._given_budget

    def _compute(self, window: Window) -> np.ndarray:
        import torch

        forward, device, _ = self._loaded
        run = self._on_cores if device.type == "cpu" else self._in_stream
        scores = torch.empty(len(window.lengths), device=device)
        done = np.zeros(len(window.lengths), dtype=bool)
        while not done.all():
            left = np.flatnonzero(~done)
            plan = batches(window.lengths[left], self._budget_for(window), forward.padded)
            try:
                run(window, [left[at] for at in plan], scores, done)
            except torch.OutOfMemoryError as error:
                self._halve_budget(int(window.lengths[~done].max()), error)
            if not done.all():
                # Only here: until the error is forgotten, its frames hold the failed batch.
                torch.cuda.empty_cache()
        return scores.cpu().numpy()  # on CUDA the one wait for the device

    def _budget_for(self, window: Window) -> int:
        """Tokens a batch; on the CPU no more than gives each core some of a small window."""
        if self._loaded.device.type != "cpu":
            return self._budget
        return min(self._budget, int(window.lengths.sum()) // _cores() + 1)

    def _halve_budget(self, longest: int, error: Exception) -> None:
        if self._budget <= longest:
            raise ScoreError(
                f"{self._loaded.device} has no memory for one pair of {longest} tokens; set a "
                "smaller max_length, a half-precision dtype, or another device"
            ) from error
        self._budget = max(self._budget // 2, longest)
        log.warning("out of memory; going on with batches of %d tokens", self._budget)

    def _in_stream(
        self, window: Window, plan: list[np.ndarray], scores: torch.Tensor, done: np.ndarray
    ) -> None:
        """Batches queued on the device, each assembled while the one before it is queued. Their
        copies are in the same stream: ids are thousands of times smaller than what is computed."""
        for part, batch in zip(plan, ahead(lambda at: self.packed(window, at), plan), strict=True):
            at = on_device(part, scores.device)
            scores[at] = self._loaded.forward.logits(batch)
            done[part] = True

    def _on_cores(
        self, window: Window, plan: list[np.ndarray], scores: torch.Tensor, done: np.ndarray
    ) -> None:
        """Batches on the CPU: as many at once as it has cores, each in one thread."""
        import torch

        def run(part: np.ndarray) -> None:
            with torch.inference_mode():  # a thread's own
                scores[torch.from_numpy(part)] = self._loaded.forward.logits(
                    self.packed(window, part)
                )
            done[part] = True

        cores = _cores()
        pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for _ in pool.map(run, plan):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(cores)  # partly a setting of the whole process


def _cores() -> int:
    import torch

    return torch.get_num_threads()


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The distinct texts, and where each text is among them: int64, shape (n,)."""
    places: dict[str, int] = {}
    at = [places.setdefault(text, len(places)) for text in texts]
    return list(places), np.array(at, dtype=np.int64)
