"""What is inspected: an output folder, the dataset that it was made of, the systems and the measure
that are asked about."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import ConfigError, DataError, nearest
from evalkit.report.compare import best_of, first_stages, own_first_stage
from evalkit.report.names import display_name
from evalkit.results import NO_RERANKER, Results, SystemResult
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.settings import checked
from evalkit.types import DOC_TEMPLATE, Dataset

# Class of a dataset → the choice of `dataset=` that takes each of its settings.
DATASETS = {
    "evalkit.datasets.folder.FolderDataset": "folder",
    "evalkit.datasets.ir_datasets.IrDataset": "ir_datasets",
    "evalkit.datasets.qrels_file.QrelsFile": "qrels",
    "evalkit.datasets.sample.SampleDataset": "sample",
}
_BM25_CLASS = f"{BM25Retriever.__module__}.{BM25Retriever.__qualname__}"


class LexicalView(NamedTuple):
    """BM25 to look at texts with. name: the retriever of the output that it is; None where the
    output has none and BM25 has its default settings."""

    name: str | None
    bm25: BM25Retriever


def require_same_data(folder: Path, results: Results, dataset: Dataset) -> None:
    """DataError unless the output was made of exactly these docs, queries and judgements."""
    if dataset.digest == results.dataset.digest:
        return
    saved = _config(results).get("dataset", {})
    choice = DATASETS.get(str(saved.get("_target_")))
    settings = [_override(key, value) for key, value in saved.items() if _is_told(key, value)]
    line = " ".join([f"dataset={choice}", *settings] if choice else settings)
    raise DataError(
        f"{folder} was made of {results.dataset.dataset_id} (digest {results.dataset.digest}), not "
        f"of {dataset.dataset_id} (digest {dataset.digest}); "
        + (f"give the dataset it was made of: {line}" if line else "choose its dataset=")
    )


def _override(key: str, value: Any) -> str:
    """A setting of the dataset as a shell and the command line's grammar take it."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and not re.fullmatch(r"[\w./:@+~-]+", text):
        # A backslash stands for itself, unless it is before a quote.
        text = "'" + re.sub(r"(\\*)'", r"\1\1\\'", text) + "'"
    return shlex.quote(f"dataset.{key}={text}")


def _is_told(key: str, value: Any) -> bool:
    return not key.startswith("_") and value not in (None, False, 0)


def _config(results: Results) -> Mapping[str, Any]:
    return results.manifest.get("config", {})


def measure_named(results: Results, name: str | None) -> str:
    """The output's measure of this name, as ir_measures or people write it; None: the first."""
    known = {display_name(measure).lower(): measure for measure in results.measure_names}
    known |= {measure.lower(): measure for measure in results.measure_names}
    if name is None:
        return results.measure_names[0]
    if name.lower() not in known:
        listed = ", ".join(results.measure_names)
        raise ConfigError(f"measure={name} is not in the output; it has {listed}")
    return known[name.lower()]


def system_named(results: Results, name: str, key: str = "system") -> SystemResult:
    """The output's system of this name, not cut to N; `key`: the setting that names it."""
    systems = {system.system: system for system in results.uncut}
    if name not in systems:
        raise ConfigError(
            f"{key}={name} is no system of the output.{nearest(name, systems)} It has "
            f"{', '.join(systems)}"
        )
    return systems[name]


def chosen_system(results: Results, name: str | None, measure: str) -> SystemResult:
    """The system of this name; None: the best one on the measure."""
    if name is not None:
        return system_named(results, name)
    best = best_of(results.uncut, measure)
    if not best:
        raise DataError(f"no system has a value of {measure}; name another with measure=")
    return best[0]


def chosen_baseline(
    results: Results, name: str | None, system: SystemResult
) -> SystemResult | None:
    """The baseline of this name; None: what the system reranks, else another first stage, if any.

    ConfigError for a system that is compared with itself.
    """
    if name is not None:
        baseline = system_named(results, name, "baseline")
        if baseline.system == system.system:
            raise ConfigError(f"baseline={name} is the system itself; name two different ones")
        return baseline
    if system.reranker != NO_RERANKER and (own := own_first_stage(results, system)):
        return own
    others = [stage for stage in first_stages(results) if stage.system != system.system]
    return others[0] if others else None


def difficulty_stage(results: Results, name: str | None) -> SystemResult:
    """The first stage by which queries are hard or easy; None: the output's BM25, else the first.

    DataError for an output without a first stage on its own.
    """
    stages = {stage.system: stage for stage in first_stages(results)}
    if not stages:
        raise DataError("the output has no first stage without a reranker; run it with none too")
    if name is not None:
        if name not in stages:
            raise ConfigError(
                f"difficulty={name} is no first stage of the output; it has {', '.join(stages)}"
            )
        return stages[name]
    bm25 = _bm25_node(results)[0]
    return stages.get(bm25 or "", next(iter(stages.values())))


def _bm25_node(results: Results) -> tuple[str | None, Mapping[str, Any]]:
    """Name and settings of the output's BM25; (None, {}) where it has none."""
    for name, node in _config(results).get("retriever", {}).items():
        if node.get("_target_") == _BM25_CLASS:
            return name, {key: value for key, value in node.items() if key != "_target_"}
    return None, {}


def lexical_view(results: Results, dataset: Dataset, cache_dir: str | None) -> LexicalView:
    """BM25 with the settings of the output's own, its index ready."""
    name, saved = _bm25_node(results)
    default = {"doc_template": _config(results).get("doc_template", DOC_TEMPLATE)}
    settings = {**(saved or default), "cache_dir": cache_dir}
    view = LexicalView(name, checked(BM25Retriever, settings, f"retriever.{name or 'bm25'}"))
    view.bm25.index(dataset)
    return view
