"""Learning to rank: LambdaMART (Burges 2010) over features of the first stages and of the words.

No text goes through a neural model here: the trees combine what cheap first stages know, which
takes milliseconds a query. Trained on a train split, or by cross-validation; see `lessons`.
The features are in `ltr_features`, the libraries in `ltr_backends`.

The defaults of LightGBM are those of the best mean nDCG@10, 0.740 (RRF: 0.718), over BM25 and
MiniLM on the 807 queries of SciFact's train split whose texts are not in its test split: 5-fold
cross-validation, two seeds, 7 leaves of at least 20 or 100 docs, 4 or 15 leaves of at least 100,
50 to 300 trees, monotone or not, learning_rate=0.05 and l2=1. Neighbours differ by less than 0.003,
which is noise. XGBoost takes the same values, untuned. Folds shared no relevant doc: claims there
come in near-twins about one abstract, and folds by query alone reward large trees for learning
abstracts by heart.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.analysis import Analyzer
from evalkit.cache import resolve_cache_dir
from evalkit.errors import ConfigError, DataError, nearest
from evalkit.io import read_json, write_json
from evalkit.rerankers.lessons import Lesson, lesson_for
from evalkit.rerankers.ltr_backends import BACKENDS, Examples, Hyperparameters, Trees, backend
from evalkit.rerankers.ltr_features import Features
from evalkit.rerankers.ltr_terms import TermFeatures
from evalkit.rerankers.ltr_training import described, grades, train_models, with_negatives
from evalkit.run import Run, union
from evalkit.types import DOC_TEMPLATE, Dataset, Neighbours, Query, checked_template, fingerprint

log = logging.getLogger(__name__)

# More than any two scores of a model differ by: every tree adds a fraction of its leaves' values.
_BELOW = 1000.0


class LearningToRank:
    """LambdaMART over the rankings of selected retrievers.

    backend: lightgbm or xgboost. features_from: names of the retrievers; None for all. depth: docs
    of each that give features and train; a candidate that is among none of them ranks below those
    that are. train_split: None, or one that is not there, for cross-validation in `folds`.
    negatives_per_query: docs without a positive grade to train on; None for all. trees, leaves,
    learning_rate, min_docs_in_leaf (LightGBM only), l2, monotone: of the model; see
    `Hyperparameters`. early_stopping: trees without a gain in nDCG@10 on held-out train queries
    after which training ends; None to grow all. A model is kept under cache_dir.
    """

    depends_on_list = False
    fits_to_queries = True

    def __init__(
        self,
        backend: str = "lightgbm",
        features_from: Sequence[str] | None = None,
        depth: int = 100,
        train_split: str | None = "train",
        folds: int = 5,
        negatives_per_query: int | None = None,
        trees: int = 200,
        leaves: int = 7,
        learning_rate: float = 0.05,
        min_docs_in_leaf: int | None = 20,
        l2: float = 1.0,
        early_stopping: int | None = None,
        monotone: bool = True,
        seed: int = 0,
        num_threads: int = 1,
        doc_template: str = DOC_TEMPLATE,
        cache_dir: str | Path | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise ConfigError(f"ltr: backend={backend}; expected one of {', '.join(BACKENDS)}")
        _check_bounds(
            depth=(depth, 1), folds=(folds, 2), negatives_per_query=(negatives_per_query, 1),
            trees=(trees, 1), leaves=(leaves, 2), min_docs_in_leaf=(min_docs_in_leaf, 1),
            l2=(l2, 0), early_stopping=(early_stopping, 1), seed=(seed, 0),
            num_threads=(num_threads, 1),
        )  # fmt: skip
        if not 0 < learning_rate <= 1:
            raise ConfigError(f"ltr: learning_rate={learning_rate}; expected above 0, at most 1")
        if (backend == "lightgbm") != (min_docs_in_leaf is not None):
            raise ConfigError(
                f"ltr: backend={backend} with min_docs_in_leaf={min_docs_in_leaf}; LightGBM needs "
                "a number, XGBoost has no such bound: null"
            )
        self.backend, self.features_from = backend, features_from
        self.train_split, self.folds, self.negatives = train_split, folds, negatives_per_query
        self.settings = Hyperparameters(
            trees, leaves, float(learning_rate), min_docs_in_leaf, float(l2), early_stopping,
            monotone, seed, num_threads,
        )  # fmt: skip
        self.folder = resolve_cache_dir(cache_dir) / "ltr"
        terms = TermFeatures(Analyzer(), checked_template(doc_template), self.folder)
        self.features = Features(terms, depth)
        self._dataset: Dataset | None = None
        self.details: dict[str, Any] = {}
        self.work: dict[str, int] = {}

    def connect(self, name: str, neighbours: Neighbours) -> None:
        """Find the first stages among the selected retrievers."""
        known = neighbours.retrievers
        names = list(known) if self.features_from is None else list(self.features_from)
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"reranker.{name}.features_from: {', '.join(names) or 'no retriever'}; expected "
                "at least one selected retriever, each once"
            )
        for stage in names:
            if stage not in known:
                raise ConfigError(
                    f"reranker.{name}.features_from: '{stage}' is not among the selected "
                    f"retrievers ({', '.join(known)}).{nearest(stage, known)} "
                    f"Add it: retriever=[{','.join([*known, stage])}]"
                )
        self.features.stages = {stage: known[stage] for stage in names}
        self._dataset = neighbours.dataset

    @property
    def fingerprint(self) -> str:
        if self._dataset is None:
            raise ConfigError("ltr has no first stages yet; call connect() first")
        return self._key(self._lesson(self._dataset), self._dataset)

    def _lesson(self, dataset: Dataset) -> Lesson:
        return lesson_for(dataset, self.train_split, self.folds)

    def _key(self, lesson: Lesson, dataset: Dataset) -> str:
        """Of everything that can change a model or a score; a model is kept under it."""
        settings = asdict(self.settings)
        del settings["num_threads"]
        return fingerprint(
            "LearningToRank",
            backend=[self.backend, backend(self.backend).version],
            settings=settings,
            negatives=self.negatives,
            features=self.features.fingerprint,
            docs=dataset.docs_digest,
            lesson=lesson.digest,
        )

    def check(self, depth: int) -> None:
        """ConfigError for a back end that is not installed, for too few queries to fold, and for
        what is wrong with a first stage that is asked for as many docs as features look at."""
        backend(self.backend)
        for stage in self.features.stages.values():
            check = getattr(stage, "check", None)
            if check is not None:
                check(self.features.depth)
        if self._dataset is not None:
            lesson = self._lesson(self._dataset)
            if lesson.folds > len(lesson.queries):
                raise ConfigError(
                    f"ltr: folds={self.folds} for the {len(lesson.queries)} queries of "
                    f"{lesson.dataset.dataset_id}; expected at most one a query"
                )

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        """The candidates under the model's scores; it is trained first, where none is kept.

        Each query is scored by a model that has not seen it.
        """
        for stage in self.features.stages.values():
            stage.index(dataset)
        lesson = self._lesson(dataset)
        rankings = self.features.rankings(dataset, candidates.query_ids)
        models, facts, trained = self._models(lesson, dataset)
        asked = [*dataset.queries, *lesson.queries]
        matrix = self.features.matrix(candidates, rankings, dataset, asked)
        fold = lesson.fold_of(self.settings.seed)
        # Under a train split no evaluated query is in the lesson: the one model serves all.
        numbers = [fold.get(query_id, 0) for query_id in candidates.query_ids]
        of_row = np.array(numbers, dtype=np.int64)[candidates.rows]
        scores = np.empty(len(candidates), dtype=np.float32)
        for number, model in enumerate(models):
            rows = of_row == number
            if rows.any():
                scores[rows] = model.predict(matrix[rows])
        # No model has seen a doc that no first stage found: it ranks below those that one did.
        outside = np.isnan(candidates.scores_in(union(list(rankings.values()))))
        scores[outside] -= _BELOW
        share = round(float(outside.sum()) / max(len(outside), 1), 6)
        self.details = {**facts, "outside_depth_share": share}
        pairs = len(candidates)
        self.work = {"asked": pairs, "reused": 0, "scored": pairs, "models_trained": trained}
        return candidates.with_scores(scores)

    def _models(self, lesson: Lesson, dataset: Dataset) -> tuple[list[Trees], dict[str, Any], int]:
        """The models, what is to be told of them, and how many were trained now."""
        if lesson.dropped:
            log.info(
                "ltr: train queries left out because they are evaluated too: %d (e.g. '%s')",
                len(lesson.dropped), lesson.dropped[0],
            )  # fmt: skip
        if lesson.folds > 1:
            log.info("ltr: no split to train on; %s", lesson.title)
        path = self.folder / f"{self._key(lesson, dataset)}.json"
        trained = 0
        kept = _kept(path)
        if kept is None:
            kept = self._train(lesson, dataset)
            write_json(path, kept)
            trained = len(kept["models"])
        return [backend(self.backend).load(text) for text in kept["models"]], kept["facts"], trained

    def _train(self, lesson: Lesson, dataset: Dataset) -> dict[str, Any]:
        """Models as text, and the facts about them, as they are kept."""
        query_ids = [query.query_id for query in lesson.queries]
        rankings = self.features.rankings(lesson.dataset, query_ids)
        for name, run in rankings.items():
            if not len(run):
                raise ConfigError(
                    f"ltr: {name} finds nothing for the {len(query_ids)} queries of "
                    f"{lesson.dataset.dataset_id} to train on; leave it out (features_from), or "
                    "train by cross-validation (train_split=null)"
                )
        pairs = union(list(rankings.values()))
        matrix = self.features.matrix(pairs, rankings, dataset, [*dataset.queries, *lesson.queries])
        examples = with_negatives(
            Examples(matrix, grades(pairs, lesson.dataset.qrels), pairs.sizes),
            self.negatives,
            self.settings.seed,
        )
        library = backend(self.backend)
        models = train_models(library, self.settings, self.features.signs, lesson, examples)
        relevant = int((examples.labels >= dataset.relevance_level).sum())
        facts = {
            "trained_on": f"{lesson.title}, {len(query_ids):,} queries, "
            f"{len(examples.labels):,} pairs, {relevant:,} relevant",
            "dropped_queries": list(lesson.dropped),
            **described([library.load(text) for text in models], self.features.names),
        }
        return {"models": models, "facts": facts}


def _check_bounds(**settings: tuple[float | None, int]) -> None:
    for name, (value, least) in settings.items():
        if value is not None and value < least:
            raise ConfigError(f"ltr: {name}={value}; expected at least {least}")


def _kept(path: Path) -> dict[str, Any] | None:
    """The models and facts in a file; None where there is none, or a damaged one."""
    if not path.exists():
        return None
    try:
        kept = read_json(path)
        if isinstance(kept, dict) and {"models", "facts"} <= kept.keys():
            return kept
    except DataError:
        pass
    log.warning("%s is damaged; its models are trained anew", path)
    return None
