"""The settings of an experiment that belong to no component, and checking of values by type."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_type_hints

from evalkit.errors import ConfigError, nearest
from evalkit.run import Tail
from evalkit.types import IntervalMethod

T = TypeVar("T")
SignificanceTest = Literal["t", "randomisation", "bootstrap"]
Correction = Literal["holm", "bonferroni", "bh", "none"]


@dataclass(frozen=True)
class SweepSettings:
    """The grid. k: candidates reranked. n: docs that go downstream. tail: see `Run.reranked`.

    depth: docs retrieved a query; None for what K, N and the measures' cutoffs need.
    """

    k: list[int] = field(default_factory=lambda: [10, 20, 50])
    n: list[int] = field(default_factory=list)
    tail: Tail = "keep"
    depth: int | None = None


@dataclass(frozen=True)
class MeasureSettings:
    """measures: names; gains: nDCG's gain, "linear" (trec_eval) or "exponential"."""

    measures: list[str]
    gains: Literal["linear", "exponential"] = "linear"


@dataclass(frozen=True)
class BootstrapSettings:
    """Bootstrap over queries: resamples, level of the interval, random seed; method: see
    `evalkit.measures.bootstrap`."""

    resamples: int = 10_000
    level: float = 0.95
    seed: int = 0
    method: IntervalMethod = "percentile"

    def __post_init__(self) -> None:
        if self.resamples < 100 or not 0 < self.level < 1:
            raise ConfigError(
                f"bootstrap: resamples={self.resamples}, level={self.level}; expected resamples "
                "≥ 100 and 0 < level < 1"
            )


@dataclass(frozen=True)
class SignificanceSettings:
    """Which differences between systems count: see `evalkit.statistics`.

    level: of a two-sided test, after correction over the comparisons on a measure. baselines: names
    of systems that all others are compared with; None for the first stages, [] for no tests.
    resamples, seed: of the randomisation and bootstrap tests. power, difference: the table says how
    many queries would show this difference with this power.
    """

    test: SignificanceTest = "t"
    correction: Correction = "holm"
    level: float = 0.05
    baselines: list[str] | None = None
    resamples: int = 10_000
    seed: int = 0
    power: float = 0.8
    difference: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or not self.level < self.power < 1:
            raise ConfigError(
                f"significance: level={self.level:g}, power={self.power:g}; expected 0 < level < "
                "power < 1, such as significance.level=0.05 significance.power=0.8"
            )
        if self.resamples < 100 or self.difference <= 0:
            raise ConfigError(
                f"significance: resamples={self.resamples}, difference={self.difference:g}; "
                "expected resamples ≥ 100 and difference > 0"
            )


@dataclass(frozen=True)
class TrackingSettings:
    """kind: "mlflow" or "off". uri, experiment: where MLflow files the run. run_name: its name
    there; None for the output folder's."""

    kind: Literal["mlflow", "off"]
    uri: str = ""
    experiment: str = ""
    run_name: str | None = None

    def __post_init__(self) -> None:
        for key in ("uri", "experiment"):
            if self.kind == "mlflow" and not getattr(self, key):
                raise ConfigError(f"tracking.{key} is empty; give it a value, or use tracking=off")


@dataclass(frozen=True)
class LatencySettings:
    """kind: "on" or "off". queries: drawn at random, at most so many; repeats: of each. warmup:
    queries that are answered before. budget_s: seconds that all this may take; fewer queries are
    asked where they would not fit, two at least. resamples: of queries, for intervals. seed: of
    the draws and orders. predict_k: candidate sizes that the timing model predicts. energy_s:
    seconds that each system answers queries while energy is counted; 0 counts none."""

    kind: Literal["on", "off"] = "off"
    queries: int = 100
    repeats: int = 2
    warmup: int = 3
    budget_s: float = 45.0
    resamples: int = 1000
    seed: int = 0
    predict_k: list[int] = field(default_factory=lambda: [100, 200])
    energy_s: float = 0.0

    def __post_init__(self) -> None:
        least = {"queries": 2, "repeats": 1, "warmup": 1, "resamples": 100, "seed": 0}
        for key, value in least.items():
            if getattr(self, key) < value:
                raise ConfigError(f"latency.{key}={getattr(self, key)}: expected at least {value}")
        if self.energy_s < 0:
            raise ConfigError(f"latency.energy_s={self.energy_s:g}: expected 0 or more seconds")
        if self.budget_s <= 0:
            raise ConfigError(f"latency.budget_s={self.budget_s:g}: expected seconds above 0")
        if min(self.predict_k, default=1) < 1:
            raise ConfigError(f"latency.predict_k={self.predict_k}: expected sizes of at least 1")


@dataclass(frozen=True)
class PartNames:
    """parts: retrievers and rerankers that are only parts of others, no systems of their own."""

    parts: list[str]


def checked(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """`kind(**values)`, each value checked against its annotation first; ConfigError if one is off.

    where: the config key that the values come from, for the message; "" for the top level. A
    number where a text is expected, such as `dataset.split=2019`, is taken as that text.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}={_shown(values)}: expected settings, such as {where}.KEY=VALUE")
    known = list(inspect.signature(kind).parameters)
    hints = get_type_hints(kind.__init__)
    # No setting means anything as NaN or infinity, and JSON has neither.
    lenient = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{where}.{name}" if where else name
        if name not in known:
            raise ConfigError(f"{key} is not a setting.{nearest(name, known)}")
        if not isinstance(value, (type(None), str, int, float, list, Mapping)):
            arguments[name] = value  # a component, built and checked already
            continue
        try:
            adapter = TypeAdapter(hints.get(name, Any), config=lenient)
            arguments[name] = adapter.validate_python(value)
        except ValidationError as error:
            raise ConfigError(_mismatch(key, value, error.errors()[0])) from error
    return kind(**arguments)


def _mismatch(key: str, value: Any, detail: Any) -> str:
    """One line on a value of the wrong type; `detail` is one of pydantic's errors."""
    place = "".join(f"[{part}]" for part in detail["loc"] if isinstance(part, int))
    listed = detail["type"] == "is_instance_of" and detail["ctx"]["class"] == "Sequence"
    if listed or detail["type"] in ("list_type", "tuple_type"):
        example = value if value not in (None, "") and not isinstance(value, Mapping) else "A,B"
        return f"{key}={_shown(value)}: expected a list; write {key}=[{example}]"
    return f"{key}{place}={_shown(detail['input'])}: {detail['msg'].lower()}"


def _shown(value: Any) -> str:
    """A value as it is written on the command line."""
    return "null" if value is None else str(value)
