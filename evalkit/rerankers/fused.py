"""Fusion of first stage and reranker: (1 - w) · first stage + w · reranker, both normalised.

The interpolation of Nogueira et al. 2019 and Gao et al. 2021; the weight is swept from one scoring
pass, as K is: the reranker's scores lie in the store, and a weight costs a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from evalkit.errors import ConfigError
from evalkit.fusion import NORMALISATIONS, normalised
from evalkit.rerankers.composed import ComposedReranker
from evalkit.rerankers.tuning import best_weights, check_measure
from evalkit.run import Run
from evalkit.types import Dataset, Neighbours, Query, fingerprint


class FusedReranker(ComposedReranker):
    """A reranker's scores and the first stage's, fused with weight w for the reranker.

    of: the reranker. weights: each is a system of its own, named NAME_w0.3, unless `tune` says
    where one of them is chosen, for each first stage and K: "SPLIT" such as "train" (never the
    evaluated one), or "cross_validation", where the weight of each query is chosen on the other
    folds' queries; see `lessons`. measure: what the choice maximises. normalisation, temperature:
    see `fusion.normalised`, applied to the candidates of each list. clip: bounds of the reranker's
    raw scores.
    """

    def __init__(
        self,
        of: str,
        weights: Sequence[float] = (0.5,),
        normalisation: str = "min_max",
        temperature: float = 1.0,
        clip: tuple[float, float] | None = None,
        tune: str | None = None,
        measure: str = "nDCG@10",
        folds: int = 5,
    ) -> None:
        weights = [float(weight) for weight in weights]
        if not weights or not all(0 <= weight <= 1 for weight in weights):
            raise ConfigError(f"fused: weights={weights}; expected numbers from 0 to 1")
        if normalisation not in NORMALISATIONS:
            expected = ", ".join(NORMALISATIONS)
            raise ConfigError(f"fused: normalisation={normalisation}; expected one of {expected}")
        if temperature <= 0 or folds < 2 or (clip is not None and clip[0] >= clip[1]):
            raise ConfigError(
                f"fused: temperature={temperature}, folds={folds}, clip={clip}; expected "
                "temperature > 0, folds ≥ 2, clip=[LOW,HIGH]"
            )
        self.of, self.weights, self.tune = of, weights, tune
        self.normalisation, self.temperature, self.clip = normalisation, temperature, clip
        self.measure, self.folds = measure, folds
        super().__init__([of])
        self.cell: int | None = None
        self.fitted = tune not in (None, "cross_validation")

    def variants(self, name: str) -> dict[str, FusedReranker]:
        """One system a weight, or the one whose weight is tuned."""
        if self.tune is not None or len(self.weights) == 1:
            return {name: self}
        found = {}
        for weight in dict.fromkeys(self.weights):
            own = copy(self)
            own.weights, own.details, own.work = [weight], {}, {}
            if f"{name}_w{weight:g}" in found:
                raise ConfigError(
                    f"reranker.{name}.weights={self.weights}: two weights make one system, "
                    f"{name}_w{weight:g}; give weights of at most six digits"
                )
            found[f"{name}_w{weight:g}"] = own
        return found

    def at_k(self, k: int) -> None:
        self.cell = k

    def connect(self, name: str, neighbours: Neighbours) -> None:
        super().connect(name, neighbours)
        dataset = neighbours.dataset
        if not self.fitted:
            return
        if self.tune == dataset.split or not dataset.has_split(str(self.tune)):
            raise ConfigError(
                f"reranker.{name}.tune={self.tune}: expected another split than the evaluated "
                f"'{dataset.split}' that {dataset.dataset_id} has; or "
                f"reranker.{name}.tune=cross_validation"
            )

    def check(self, depth: int) -> None:
        """Raise what is wrong with the part, which must not drop docs, or with the measure."""
        super().check(depth)
        if self.tune is not None:
            check_measure(self)
        if self.filters:
            raise ConfigError(
                f"reranker.{self.name}.of={self.of}: it drops docs, whose scores cannot be fused; "
                "filter the fused scores instead"
            )

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "Fused",
            parts=self.part_fingerprints(),
            weights=self.weights,
            normalisation=self.normalisation,
            temperature=self.temperature,
            clip=self.clip,
            tune=self.tune,
            measure=self.measure if self.tune else None,
            folds=self.folds if self.tune == "cross_validation" else None,
        )

    def rerank(self, queries: Sequence[Query], dataset: Dataset, candidates: Run) -> Run:
        self.work = {}
        found = self.call(self.of, queries, dataset, candidates)
        weight = np.full(len(candidates.query_ids), self.weights[0])
        if self.tune is not None:
            weight = best_weights(self, dataset, candidates, found)
        return self.fuse(candidates, found, weight)

    def fuse(self, candidates: Run, found: Run, weight: np.ndarray) -> Run:
        """The candidates under the fused scores; weight: float64, shape (Q,)."""
        first = normalised(candidates, self.normalisation, self.temperature)
        scores = normalised(found, self.normalisation, self.temperature, self.clip)
        second = candidates.scores_in(replace(found, scores=scores.astype(np.float32)))
        each = weight[candidates.rows]
        return candidates.with_scores((1 - each) * first + each * second.astype(np.float64))

    def estimate(self, sizes: np.ndarray) -> dict[str, int]:
        """The reranker's cost, on the split that the weight is chosen on too."""
        found = super().estimate(sizes)
        if self.fitted and self.neighbours is not None:
            train = self.neighbours.dataset.with_split(str(self.tune))
            deepest = np.full(len(train.queries), sizes.max(initial=0))
            for unit, amount in self.estimate_part(self.of, deepest).items():
                found[f"{unit} on {self.tune}"] = amount
        return found
