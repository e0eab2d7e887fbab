"""LambdaMART by LightGBM and by XGBoost: gradient boosted trees that optimise nDCG.

Burges, "From RankNet to LambdaRank to LambdaMART", 2010. Both take missing values, and both are
made to give the same model every time. The gain of a grade is the grade itself, as in trec_eval's
nDCG. A model is kept as text and always used as it is read from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np

from evalkit.errors import ConfigError

BACKENDS = ("lightgbm", "xgboost")
_CUTOFF = 10


@dataclass(frozen=True)
class Hyperparameters:
    """Of the trees; the names are those of the settings of `LearningToRank`."""

    trees: int
    leaves: int
    learning_rate: float
    min_docs_in_leaf: int | None
    l2: float
    early_stopping: int | None
    monotone: bool
    seed: int
    num_threads: int


class Examples(NamedTuple):
    """Pairs with grades, query by query. features: float32, shape (n, F), NaN for missing; labels:
    int64, shape (n,), at least 0; sizes: pairs a query, int64, shape (Q,)."""

    features: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray

    def of_queries(self, keep: np.ndarray) -> Examples:
        """Those of the queries where the mask `keep`, bool of shape (Q,), holds."""
        rows = np.repeat(keep, self.sizes)
        return Examples(self.features[rows], self.labels[rows], self.sizes[keep])


class Trees(Protocol):
    """A trained model."""

    @property
    def count(self) -> int:
        """The number of trees."""
        ...

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Scores: float64, shape (n,)."""
        ...

    def gains(self) -> np.ndarray:
        """What splits on each feature gained in all: float64, shape (F,)."""
        ...


class Backend(Protocol):
    """A library that trains trees."""

    version: str

    def train(
        self,
        settings: Hyperparameters,
        signs: Sequence[int],
        examples: Examples,
        validation: Examples | None,
    ) -> str:
        """The model as text. signs: per feature, see `monotone_signs`. validation: where
        nDCG@10 is watched; training stops when it has not risen for `early_stopping` trees."""
        ...

    def load(self, text: str) -> Trees: ...


def backend(name: str) -> Backend:
    """The back end of this name; ConfigError with the command that installs it."""
    try:
        library = import_module(name)
    except ImportError as error:
        raise ConfigError(
            f'backend={name} is not installed ({error}); run: pip install "evalkit[ltr]"'
        ) from error
    return LightGBM(library) if name == "lightgbm" else XGBoost(library)


class LightGBM:
    """lambdarank of LightGBM (Ke et al., NIPS 2017)."""

    def __init__(self, library: Any) -> None:
        self.package, self.version = library, str(library.__version__)

    def train(
        self,
        settings: Hyperparameters,
        signs: Sequence[int],
        examples: Examples,
        validation: Examples | None,
    ) -> str:
        graded = [part.labels.max() for part in (examples, validation) if part is not None]
        parameters = self.parameters(settings, signs, int(max(graded)))
        data = self._data(examples, parameters)
        watched, calls = [], []
        if validation is not None:
            watched = [
                data.create_valid(validation.features, validation.labels, group=validation.sizes)
            ]
            calls = [self.package.early_stopping(settings.early_stopping, verbose=False)]
        model = self.package.train(
            parameters, data, settings.trees, valid_sets=watched, callbacks=calls
        )
        return model.model_to_string(num_iteration=model.best_iteration)

    def parameters(
        self, settings: Hyperparameters, signs: Sequence[int], top_grade: int
    ) -> dict[str, Any]:
        """In LightGBM's own names."""
        return {
            "objective": "lambdarank",
            "label_gain": list(range(top_grade + 1)),
            "metric": "ndcg",
            "eval_at": [_CUTOFF],
            "num_leaves": settings.leaves,
            "learning_rate": settings.learning_rate,
            "min_data_in_leaf": settings.min_docs_in_leaf,
            "lambda_l2": settings.l2,
            "monotone_constraints": list(signs) if settings.monotone else None,
            "seed": settings.seed,
            "num_threads": settings.num_threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def _data(self, examples: Examples, parameters: dict[str, Any]) -> Any:
        return self.package.Dataset(
            examples.features, examples.labels, group=examples.sizes, params=parameters
        )

    def load(self, text: str) -> Trees:
        return LightGBMTrees(self.package.Booster(model_str=text))


class LightGBMTrees:
    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def count(self) -> int:
        return int(self.model.num_trees())

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.model.predict(features, num_threads=1)

    def gains(self) -> np.ndarray:
        return self.model.feature_importance("gain")


class XGBoost:
    """rank:ndcg of XGBoost (Chen and Guestrin, KDD 2016)."""

    def __init__(self, library: Any) -> None:
        self.package, self.version = library, str(library.__version__)

    def train(
        self,
        settings: Hyperparameters,
        signs: Sequence[int],
        examples: Examples,
        validation: Examples | None,
    ) -> str:
        watched = [] if validation is None else [(self._data(validation), "validation")]
        model = self.package.train(
            self.parameters(settings, signs),
            self._data(examples),
            settings.trees,
            evals=watched,
            early_stopping_rounds=None if validation is None else settings.early_stopping,
            verbose_eval=False,
        )
        if validation is not None:
            model = model[: model.best_iteration + 1]
        return bytes(model.save_raw("json")).decode()

    def parameters(self, settings: Hyperparameters, signs: Sequence[int]) -> dict[str, Any]:
        """In XGBoost's own names. It has no bound on the docs of a leaf: min_child_weight, its
        bound on a leaf's second derivatives, means something else under a ranking loss."""
        return {
            "objective": "rank:ndcg",
            "ndcg_exp_gain": False,
            "eval_metric": f"ndcg@{_CUTOFF}",
            "tree_method": "hist",
            "grow_policy": "lossguide",
            "max_depth": 0,
            "max_leaves": settings.leaves,
            "learning_rate": settings.learning_rate,
            "reg_lambda": settings.l2,
            "monotone_constraints": tuple(signs if settings.monotone else [0] * len(signs)),
            "seed": settings.seed,
            "nthread": settings.num_threads,
            "verbosity": 1,
        }

    def _data(self, examples: Examples) -> Any:
        groups = np.repeat(np.arange(len(examples.sizes)), examples.sizes)
        return self.package.DMatrix(examples.features, examples.labels, qid=groups)

    def load(self, text: str) -> Trees:
        model = self.package.Booster()
        model.load_model(bytearray(text.encode()))
        return XGBoostTrees(self.package, model)


class XGBoostTrees:
    def __init__(self, library: Any, model: Any) -> None:
        self.package, self.model = library, model

    @property
    def count(self) -> int:
        return int(self.model.num_boosted_rounds())

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.model.predict(self.package.DMatrix(features)).astype(np.float64)

    def gains(self) -> np.ndarray:
        found = self.model.get_score(importance_type="total_gain")
        return np.array(
            [found.get(f"f{i}", 0.0) for i in range(self.model.num_features())], dtype=np.float64
        )
