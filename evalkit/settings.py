"""The settings of an experiment that belong to no component, and checking of values by type."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_type_hints

from evalkit.errors import ConfigError, nearest
from evalkit.run import Tail

T = TypeVar("T")


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
    """Percentile bootstrap over queries: resamples, level of the interval, random seed."""

    resamples: int = 10_000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 100 or not 0 < self.level < 1:
            raise ConfigError(
                f"bootstrap: resamples={self.resamples}, level={self.level}; expected resamples "
                "≥ 100 and 0 < level < 1"
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
