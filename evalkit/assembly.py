"""From built components to an experiment: what is composed of others finds them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.errors import ConfigError, nearest
from evalkit.experiment import Experiment
from evalkit.manifest import build_manifest
from evalkit.retrievers.remembering import RememberingRetriever
from evalkit.retrievers.run_file import RunFiles
from evalkit.settings import (
    BootstrapSettings,
    MeasureSettings,
    SignificanceSettings,
    SweepSettings,
    checked,
)
from evalkit.types import Dataset, Neighbours, Reranker, Retriever


@dataclass(frozen=True)
class Parts:
    """What a config describes: components by name, the other settings, the whole as plain data.

    hidden: names of retrievers and rerankers that are only parts of others, no systems themselves.
    """

    dataset: Dataset
    retrievers: Mapping[str, Any]
    rerankers: Mapping[str, Any]
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    hidden: Sequence[str] = ()


def assemble(parts: Parts) -> Experiment:
    """The experiment: run files named by stem, hybrids and cascades connected to their parts."""
    retrievers = connected_retrievers(parts.retrievers)
    rerankers = connected_rerankers(parts.dataset, retrievers, parts.rerankers)
    _check_hidden(parts.hidden, retrievers, rerankers)
    settings = parts.settings
    fingerprints = {f"retriever.{name}": r.fingerprint for name, r in retrievers.items()}
    fingerprints |= {f"reranker.{name}": r.fingerprint for name, r in rerankers.items()}
    tests = settings.get("significance", {})
    chosen = {"measures": settings["measures"], "gains": settings["gains"]}
    return Experiment(
        dataset=parts.dataset,
        retrievers=_shown(retrievers, parts.hidden),
        rerankers=_shown(rerankers, parts.hidden),
        sweep=checked(SweepSettings, settings["sweep"], "sweep"),
        measures=checked(MeasureSettings, chosen, ""),
        bootstrap=checked(BootstrapSettings, settings["bootstrap"], "bootstrap"),
        significance=checked(SignificanceSettings, tests, "significance"),
        hidden={name: part for name, part in retrievers.items() if name in parts.hidden},
        manifest=build_manifest(parts.config, fingerprints, parts.dataset.warnings),
    )


def connected_retrievers(given: Mapping[str, Any]) -> dict[str, Retriever]:
    """The retrievers by name, each remembering its last rankings; a `connect` finds its parts."""
    plain: dict[str, Retriever] = {}
    for name, part in given.items():
        new = part.retrievers if isinstance(part, RunFiles) else {name: part}
        for each, retriever in new.items():
            if each in plain:
                raise ConfigError(
                    f"two retrievers are named '{each}'; rename the run file of that name"
                )
            plain[each] = retriever
    remembering: dict[str, Retriever] = {
        name: RememberingRetriever(retriever) for name, retriever in plain.items()
    }
    for name, retriever in plain.items():
        if hasattr(retriever, "connect"):
            retriever.connect(name, remembering)
    _refuse_circles("retriever", plain)
    return remembering


def connected_rerankers(
    dataset: Dataset, retrievers: Mapping[str, Retriever], given: Mapping[str, Any]
) -> dict[str, Reranker]:
    """The rerankers by name; what has `variants` (a fusion of several weights) becomes several."""
    rerankers: dict[str, Reranker] = {}
    for name, part in given.items():
        variants = getattr(part, "variants", None)
        rerankers |= {name: part} if variants is None else variants(name)
    neighbours = Neighbours(dataset, retrievers, rerankers)
    for name, reranker in rerankers.items():
        if hasattr(reranker, "connect"):
            reranker.connect(name, neighbours)
    _refuse_circles("reranker", rerankers)
    return rerankers


def _refuse_circles(kind: str, components: Mapping[str, Any]) -> None:
    """ConfigError where a component is made of itself, by way of others or not."""

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " → ".join((*path[path.index(name) :], name))
            raise ConfigError(f"{kind}.{name} is made of itself ({circle}); name another part")
        for part in getattr(components.get(name), "uses", ()):
            walk(part, (*path, name))

    for name in components:
        walk(name, ())


def _check_hidden(
    hidden: Sequence[str], retrievers: Mapping[str, Any], rerankers: Mapping[str, Any]
) -> None:
    for kind, components in (("retriever", retrievers), ("reranker", rerankers)):
        if components and set(components) <= set(hidden):
            raise ConfigError(
                f"parts=[{','.join(hidden)}] hides every {kind}; at least one is to be a system of "
                "its own"
            )
    known = [*retrievers, *rerankers]
    for name in hidden:
        if name not in known:
            raise ConfigError(
                f"parts: '{name}' is no selected retriever or reranker ({', '.join(known)})."
                f"{nearest(name, known)}"
            )


def _shown(components: Mapping[str, Any], hidden: Sequence[str]) -> dict[str, Any]:
    return {name: part for name, part in components.items() if name not in hidden}
