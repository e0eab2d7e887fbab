"""What of an output folder goes to MLflow, as plain data: nothing here knows a server.

One parent run for the experiment and one child run for each pipeline (retriever+reranker): its
settings, its curves over K (see `points`) and its queries (see `query_table`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    param_names,
    shortened,
)
from evalkit.tracking.points import Point, points_of
from evalkit.tracking.query_table import TABLES, TABLES_TAG, QueryTable, query_tables

RESULTS = "results.json"
_BETWEEN_TABLES = "\n\n\n"
_MORE = (
    "\n\nFurther tables are in the artifact table.md; report.html has everything, and each "
    "pipeline's queries are in the artifact per_query.json of its run."
)


class RunContent(NamedTuple):
    """What one MLflow run is to hold; `long` are values that MLflow would cut, by full name.

    table: the primary measure of each query, None where there is none to show.
    """

    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Sequence[Point]
    long: Mapping[str, str]
    table: QueryTable | None = None


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
    with as_written(path, "write it again with `python -m evalkit`"):
        return _output(folder.resolve(), results)


@contextmanager
def as_written(path: Path, remedy: str) -> Iterator[None]:
    """A DataError for a file that lacks what evalkit writes, or has something else there."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not what evalkit writes ({type(error).__name__}: {error}); {remedy}"
        ) from error


def digest_of(path: Path) -> str:
    """What tells a folder that was logged already: of the file that holds its results."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def _output(folder: Path, results: Mapping[str, Any]) -> Output:
    manifest = results.get("manifest", {})
    systems = results["systems"]
    pipelines: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for system in systems:
        pipelines.setdefault((system["retriever"], system["reranker"]), []).append(system)
    retrievers, rerankers = ({pair[i]: None for pair in pipelines} for i in (0, 1))
    tags = _tags(folder, results["dataset"], manifest)
    parent_tags = tags | {
        "evalkit.role": "experiment",
        "evalkit.retriever": ", ".join(retrievers),
        "evalkit.reranker": ", ".join(rerankers),
        "mlflow.note.content": _note(folder),
    }
    tables = query_tables(folder)
    children = []
    for (retriever, reranker), cells in pipelines.items():
        name = retriever if reranker == NO_RERANKER else f"{retriever}+{reranker}"
        params = _settings(retriever, reranker, results["dataset"], manifest)
        own = {
            "evalkit.role": "pipeline",
            "evalkit.pipeline": name,
            "evalkit.retriever": retriever,
            "evalkit.reranker": reranker,
        }
        points = list(points_of(results, retriever, reranker, cells))
        children.append(run_content(name, params, tags | own, points, tables.get(name)))
    return Output(
        folder,
        digest_of(folder / RESULTS),
        _dataset(results["dataset"]),
        run_content(folder.name, flatten(manifest.get("config", {})), parent_tags, []),
        children,
        _files(folder),
    )


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
    own = {
        "evalkit.seed": manifest.get("config", {}).get("bootstrap", {}).get("seed"),
        "evalkit.libraries": libraries,
        "evalkit.dataset": dataset["dataset_id"],
        "evalkit.dataset_digest": dataset["digest"],
        "evalkit.synthetic": dataset.get("synthetic") or None,
    }
    return tags_of("run", folder, manifest, own)


def tags_of(
    task: str, folder: Path, manifest: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, str]:
    """The tags that runs of every task have, and its own; None is left out, others are JSON."""
    tags = {
        "evalkit.task": task,
        "evalkit.version": manifest.get("evalkit"),
        "evalkit.git_commit": manifest.get("git_commit"),
        "evalkit.created": manifest.get("created"),
        "evalkit.device": manifest.get("device"),
        "evalkit.output_dir": str(folder),
        "mlflow.source.name": "evalkit",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": manifest.get("git_commit"),
        **own,
    }
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in tags.items() if v is not None}


def _note(folder: Path) -> str:
    """The run's description: the tables of results, as many of them as it may hold."""
    path = folder / "table.md"
    tables = path.read_text(encoding="utf-8").split(_BETWEEN_TABLES) if path.is_file() else []
    shown = len(tables)
    while shown and len(_BETWEEN_TABLES.join(tables[:shown])) > LONGEST_TAG - len(_MORE):
        shown -= 1
    return _BETWEEN_TABLES.join(tables[:shown]) + ("" if shown == len(tables) else _MORE)


def _dataset(dataset: Mapping[str, Any]) -> DatasetContent:
    profile = {key: dataset[key] for key in ("num_docs", "num_queries", "num_qrels")}
    profile |= {"synthetic": dataset["synthetic"]} if dataset.get("synthetic") else {}
    source = {"dataset_id": dataset["dataset_id"], "digest": dataset["digest"]}
    return dataset_content(source["dataset_id"], source["digest"], source, profile)


def dataset_content(
    name: str, digest: str, source: Mapping[str, Any], profile: Mapping[str, Any]
) -> DatasetContent:
    """Name and digest cut to MLflow's limits; the whole of both is in `source` and in the tags."""
    cut = name[:LONGEST_DATASET_NAME], digest[:LONGEST_DIGEST]
    return DatasetContent(*cut, json.dumps(source), json.dumps(profile))


def run_content(
    name: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    points: Sequence[Point],
    table: QueryTable | None = None,
) -> RunContent:
    """A run's content with legal names; values that MLflow would cut are in `long` instead."""
    short, long = shortened(params, LONGEST_PARAM)
    named = dict(zip(param_names(params), short.values(), strict=True))
    short_tags, long_tags = shortened(tags, LONGEST_TAG)
    if table:
        short_tags[TABLES_TAG] = TABLES
    return RunContent(name, named, short_tags, points, long | long_tags, table)


def _files(folder: Path) -> list[Path]:
    """Every file of the folder but hidden ones: .hydra, and what an atomic write left behind."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(f for f in files if not any(part.startswith(".") for part in f.parts))
