"""What of an output folder goes to MLflow, as plain data: nothing here knows a server.

One parent run for the experiment and one child run for each pipeline (retriever+reranker), whose
metrics have K as their step, so that MLflow draws quality over K. A pipeline without a reranker
does not depend on K and becomes a flat line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import DataError
from evalkit.io import read_json
from evalkit.results import NO_RERANKER, SCHEMA
from evalkit.tracking.limits import (
    LONGEST_DATASET_NAME,
    LONGEST_DIGEST,
    LONGEST_PARAM,
    LONGEST_TAG,
    flatten,
    metric_names,
    param_names,
    shortened,
)

RESULTS = "results.json"


class Point(NamedTuple):
    """A metric's value at a step; the step is K."""

    name: str
    value: float
    step: int


class RunContent(NamedTuple):
    """What one MLflow run is to hold; `long` are values that MLflow would cut, by full name."""

    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Sequence[Point]
    long: Mapping[str, str]


class DatasetContent(NamedTuple):
    """The dataset input that the UI shows; `source` and `profile` are JSON."""

    name: str
    digest: str
    source: str
    profile: str


class Output(NamedTuple):
    """A finished output folder. output_id: the digest of its results.json."""

    folder: Path
    output_id: str
    dataset: DatasetContent
    parent: RunContent
    children: Sequence[RunContent]
    files: Sequence[Path]


def read_output(folder: Path) -> Output:
    """The content of an output folder; a DataError if there are no results of this schema in it."""
    path = folder / RESULTS
    if not path.is_file():
        raise DataError(
            f"{path}: not found; expected a folder that `python -m evalkit` has written"
        )
    results = read_json(path)
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path}: schema {schema}, expected {SCHEMA}; log it with its own evalkit")
    try:
        return _output(folder.resolve(), results)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not what evalkit writes ({type(error).__name__}: {error}); "
            "write it again with `python -m evalkit`"
        ) from error


def _output(folder: Path, results: Mapping[str, Any]) -> Output:
    manifest = results.get("manifest", {})
    systems = results["systems"]
    pipelines: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for system in systems:
        pipelines.setdefault((system["retriever"], system["reranker"]), []).append(system)
    retrievers, rerankers = ({pair[i]: None for pair in pipelines} for i in (0, 1))
    tags = _tags(folder, results["dataset"], manifest)
    parent_tags = tags | {
        "evalkit.retriever": ", ".join(retrievers),
        "evalkit.reranker": ", ".join(rerankers),
        "mlflow.note.content": _note(folder),
    }
    names = metric_names(results["measures"])
    sweep = sorted({s["k"] for s in systems if s["k"] is not None})
    children = [
        _content(
            retriever if reranker == NO_RERANKER else f"{retriever}+{reranker}",
            _settings(retriever, reranker, results["dataset"], manifest),
            tags | {"evalkit.retriever": retriever, "evalkit.reranker": reranker},
            list(_points(cells, names, sweep)),
        )
        for (retriever, reranker), cells in pipelines.items()
    ]
    return Output(
        folder,
        hashlib.sha256((folder / RESULTS).read_bytes()).hexdigest()[:32],
        _dataset(results["dataset"]),
        _content(folder.name, flatten(manifest.get("config", {})), parent_tags, []),
        children,
        _files(folder),
    )


def _points(
    cells: Iterable[Mapping[str, Any]], names: Mapping[str, str], sweep: Sequence[int]
) -> Iterator[Point]:
    """The points of one pipeline; a value that is not defined (null) gives none.

    MLflow draws a section of charts for what stands before a '/', and sorts sections by name:
    "quality/NDCG_10", "quality_N5/NDCG_10" for rankings cut to N, and the interval's bounds in
    "quality_interval/NDCG_10_low".
    """
    for cell in cells:
        cut = "" if cell["n"] is None else f"_N{cell['n']}"
        values: dict[str, float | None] = {}
        for measure, value in cell["measures"].items():
            low, high = cell["ci"].get(measure, (None, None))
            bound = f"quality_interval{cut}/{names[measure]}"
            values |= {f"{bound}_low": low, f"{bound}_high": high}
            values[f"quality{cut}/{names[measure]}"] = value
        for step in [cell["k"]] if cell["k"] is not None else sweep or [0]:
            yield from (Point(k, v, step) for k, v in values.items() if v is not None)


def _settings(
    retriever: str, reranker: str, dataset: Mapping[str, Any], manifest: Mapping[str, Any]
) -> dict[str, str]:
    """A pipeline's parameters: "retriever.k1", whatever its name, so that the UI compares them."""
    params = {"dataset": dataset["dataset_id"]}
    for role, name in (("retriever", retriever), ("reranker", reranker)):
        params[role] = name
        nodes = manifest.get("config", {}).get(role)
        nodes = nodes if isinstance(nodes, Mapping) else {}
        # The one node of all run files gives each of them a system, named by the file's stem.
        node = nodes.get(name) or (nodes.get("run_file") if role == "retriever" else None)
        params |= flatten(node, role) if node else {}
        digest = manifest.get("fingerprints", {}).get(f"{role}.{name}")
        params |= {f"{role}.fingerprint": digest} if digest else {}
    return params


def _tags(folder: Path, dataset: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, str]:
    """The tags of parent and children; what the manifest lacks is left out."""
    libraries = ", ".join(f"{k} {v}" for k, v in manifest.get("libraries", {}).items())
    tags = {
        "evalkit.version": manifest.get("evalkit"),
        "evalkit.git_commit": manifest.get("git_commit"),
        "evalkit.created": manifest.get("created"),
        "evalkit.device": manifest.get("device"),
        "evalkit.seed": manifest.get("config", {}).get("bootstrap", {}).get("seed"),
        "evalkit.libraries": libraries,
        "evalkit.dataset": dataset["dataset_id"],
        "evalkit.dataset_digest": dataset["digest"],
        "evalkit.synthetic": dataset.get("synthetic") or None,
        "evalkit.output_dir": str(folder),
        "mlflow.source.name": "evalkit",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": manifest.get("git_commit"),
    }
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in tags.items() if v is not None}


def _note(folder: Path) -> str:
    """The run's description: the table of results, where it is short enough to be one."""
    table = folder / "table.md"
    text = table.read_text(encoding="utf-8") if table.is_file() else ""
    return text if len(text) <= LONGEST_TAG else "The results are in the artifact table.md."


def _dataset(dataset: Mapping[str, Any]) -> DatasetContent:
    """Name and digest cut to MLflow's limits; the whole of both is in `source` and in the tags."""
    profile = {key: dataset[key] for key in ("num_docs", "num_queries", "num_qrels")}
    profile |= {"synthetic": dataset["synthetic"]} if dataset.get("synthetic") else {}
    return DatasetContent(
        dataset["dataset_id"][:LONGEST_DATASET_NAME],
        dataset["digest"][:LONGEST_DIGEST],
        json.dumps({"dataset_id": dataset["dataset_id"], "digest": dataset["digest"]}),
        json.dumps(profile),
    )


def _content(
    name: str, params: Mapping[str, str], tags: Mapping[str, str], points: Sequence[Point]
) -> RunContent:
    """A run's content with legal names; values that MLflow would cut are in `long` instead."""
    short, long = shortened(params, LONGEST_PARAM)
    named = dict(zip(param_names(params), short.values(), strict=True))
    short_tags, long_tags = shortened(tags, LONGEST_TAG)
    return RunContent(name, named, short_tags, points, long | long_tags)


def _files(folder: Path) -> list[Path]:
    """Every file of the folder but hidden ones: .hydra, and what an atomic write left behind."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(f for f in files if not any(part.startswith(".") for part in f.parts))
