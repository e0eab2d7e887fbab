"""Published runs as first stages: TREC run files, to be measured, fused and reranked."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from evalkit.errors import ConfigError, DataError
from evalkit.io import read_run
from evalkit.run import Run
from evalkit.types import Dataset, Query, fingerprint

log = logging.getLogger(__name__)


class RunFileRetriever:
    """One TREC run file; its order is the canonical one of its scores, as trec_eval reads it.

    Queries of the file that are not judged are dropped, with a count; judged queries that the file
    lacks keep an empty ranking and count 0. depth: docs read a query (None: all).
    """

    def __init__(self, path: str | Path, depth: int | None = None) -> None:
        if depth is not None and depth < 1:
            raise ConfigError(f"run_file: depth={depth}; expected at least 1 or null")
        self.path = Path(path).expanduser()
        self.depth = depth

    @cached_property
    def fingerprint(self) -> str:
        try:
            content = self.path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{self.path}: cannot be read ({reason})") from error
        digest = hashlib.sha256(content).hexdigest()
        return fingerprint("RunFile", content=digest, depth=self.depth)

    @cached_property
    def _run(self) -> Run:
        return read_run(self.path)

    def is_cached(self, dataset: Dataset) -> bool:
        return True

    def index(self, dataset: Dataset) -> None:
        judged = {query.query_id for query in dataset.queries}
        found = set(self._run.query_ids)
        if not judged & found:
            example = self._run.query_ids[0]
            raise DataError(
                f"{self.path}: none of its {len(found)} queries (e.g. '{example}') is judged in "
                f"{dataset.dataset_id}; use the qrels that belong to this run"
            )
        if found - judged:
            log.info("%s: %d queries without qrels are left out", self.path, len(found - judged))
        if judged - found:
            log.warning(
                "%s: no results for %d of %d judged queries; they count 0",
                self.path, len(judged - found), len(judged),
            )  # fmt: skip

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        run = self._run.select([query.query_id for query in queries])
        if queries and not len(run):
            # Silent, a hybrid of it and BM25 would be fitted on BM25 alone.
            raise DataError(
                f"{self.path}: holds none of the {len(queries)} queries asked for (e.g. "
                f"'{queries[0].query_id}'); a run file holds one split, so what is fitted to it "
                "cannot use another: choose cross-validation, or leave the file out"
            )
        return run.top(k if self.depth is None else min(k, self.depth))


class RunFiles:
    """The `run_file` group entry: several run files, each a retriever named by its file's stem."""

    def __init__(self, paths: Sequence[str], depth: int | None = None) -> None:
        if isinstance(paths, str):
            paths = [paths]
        if not paths:
            raise ConfigError("retriever.run_file.paths is empty; give [a.trec,b.trec]")
        self.retrievers: dict[str, RunFileRetriever] = {}
        for path in paths:
            stem = _stem(path)
            if not stem or any(map(str.isspace, stem)):
                raise ConfigError(
                    f"retriever.run_file.paths: '{path}' has white space in its name, which a "
                    "system's name cannot have; rename the file"
                )
            if stem in self.retrievers:
                raise ConfigError(
                    f"retriever.run_file.paths: two files are named '{stem}'; rename one, systems "
                    "are named by file stem"
                )
            self.retrievers[stem] = RunFileRetriever(path, depth)


def _stem(path: str) -> str:
    name = Path(path).name
    for suffix in (".gz", ".trec", ".run", ".txt"):
        name = name.removesuffix(suffix)
    return name
