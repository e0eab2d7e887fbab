"""Hybrid: other retrievers' rankings, fused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.errors import ConfigError, nearest
from evalkit.fusion import NORMALISATIONS, rrf, weighted_sum
from evalkit.retrievers.remembering import RememberingRetriever, inner
from evalkit.run import Run
from evalkit.types import Dataset, Query, Retriever, fingerprint

METHODS = ("rrf", "weighted")


class HybridRetriever:
    """Fuses the first `depth` docs of its components by RRF or a weighted sum of scores.

    components: names of other selected retrievers; None for all that are not hybrids themselves.
    depth is fixed, not the candidate size asked for, so that a cell of the grid is the same alone
    and in a sweep. weights: one a component, in their order (None: all 1).
    """

    def __init__(
        self,
        components: Sequence[str] | None = None,
        method: str = "rrf",
        depth: int = 100,
        rrf_k: float = 60.0,
        weights: Sequence[float] | None = None,
        normalisation: str = "min_max",
    ) -> None:
        if method not in METHODS:
            raise ConfigError(f"hybrid: method={method}; expected one of {', '.join(METHODS)}")
        if normalisation not in NORMALISATIONS:
            expected = ", ".join(NORMALISATIONS)
            raise ConfigError(f"hybrid: normalisation={normalisation}; expected one of {expected}")
        if depth < 1 or rrf_k < 0:
            raise ConfigError(
                f"hybrid: depth={depth}, rrf_k={rrf_k}; expected depth ≥ 1, rrf_k ≥ 0"
            )
        self.component_names = None if components is None else tuple(components)
        self.method, self.depth, self.rrf_k = method, depth, float(rrf_k)
        self.weights = None if weights is None else [float(w) for w in weights]
        self.normalisation = normalisation
        self._components: dict[str, Retriever] = {}
        self._name, self._exclude_self = "hybrid", False

    def connect(self, name: str, others: Mapping[str, Retriever]) -> None:
        """Find the components among the other selected retrievers; `name` is the hybrid's own."""
        self._name = name
        simple = {n: r for n, r in others.items() if not isinstance(inner(r), HybridRetriever)}
        names = tuple(simple) if self.component_names is None else self.component_names
        if len(set(names)) < len(names):
            raise ConfigError(
                f"retriever.{name}.components names one retriever twice ({', '.join(names)}); "
                f"give it more weight instead: retriever.{name}.weights"
            )
        for component in names:
            if component not in simple:
                raise ConfigError(
                    f"retriever.{name}.components: '{component}' is not among the selected "
                    f"retrievers ({', '.join(simple) or 'none'}).{nearest(component, simple)} "
                    f"Add it: retriever=[{','.join(dict.fromkeys([*simple, component, name]))}]"
                )
        if len(names) < 2:
            raise ConfigError(
                f"retriever.{name} fuses at least two other retrievers, found "
                f"{', '.join(names) or 'none'}; for instance retriever=[bm25,dense,{name}]"
            )
        if self.weights is not None and len(self.weights) != len(names):
            raise ConfigError(
                f"retriever.{name}.weights has {len(self.weights)} values for {len(names)} "
                f"components ({', '.join(names)}); give one a component"
            )
        self._components = {component: simple[component] for component in names}
        for part in self._components.values():
            if isinstance(part, RememberingRetriever):
                part.least_depth = max(part.least_depth, self.depth + 1)

    @property
    def uses(self) -> tuple[str, ...]:
        """The names of the retrievers that are fused."""
        return tuple(self._components)

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "Hybrid",
            components={name: part.fingerprint for name, part in self._components.items()},
            order=list(self._components),
            method=self.method,
            depth=self.depth,
            weights=self.weights,
            **(
                {"rrf_k": self.rrf_k}
                if self.method == "rrf"
                else {"normalisation": self.normalisation}
            ),
        )

    def is_cached(self, dataset: Dataset) -> bool:
        return all(part.is_cached(dataset) for part in self._components.values())

    def index(self, dataset: Dataset) -> None:
        self._exclude_self = dataset.exclude_self
        for component in self._components.values():
            component.index(dataset)

    def check(self, depth: int) -> None:
        """ConfigError if `depth` docs a query are more than the components are asked for; and what
        is wrong with a component."""
        self._check_depth(depth)
        for part in self._components.values():
            check = getattr(part, "check", None)
            if check is not None:
                check(self.depth)

    def _check_depth(self, depth: int) -> None:
        if depth > self.depth:
            raise ConfigError(
                f"{depth} docs a query asked of retriever.{self._name}, which fuses the first "
                f"{self.depth} of each component; set retriever.{self._name}.depth={depth}, or "
                f"ask for at most {self.depth} (sweep.k, sweep.depth, the measures' cutoffs)"
            )

    def retrieve(self, queries: Sequence[Query], k: int) -> Run:
        """The fused ranking; a query's own doc is left out before the ranks are fused."""
        own = 1 if self._exclude_self else 0
        self._check_depth(k - own)
        runs = [part.retrieve(queries, self.depth + own) for part in self._components.values()]
        if own:
            runs = [run.without_self().top(self.depth) for run in runs]
        if self.method == "rrf":
            return rrf(runs, self.rrf_k, self.weights).top(k)
        return weighted_sum(runs, self.weights, self.normalisation).top(k)
