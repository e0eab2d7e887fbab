"""Many datasets in one table, as BEIR shows them: systems by datasets, and the average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.report.cells import number_cells
from evalkit.report.grid import named
from evalkit.report.layout import Column, Table, percent, printable
from evalkit.report.names import display_name, synthetic_note
from evalkit.report.presets.needs import NotMeasured, in_order
from evalkit.report.wording import about_models, measured_on
from evalkit.results import Results

# BEIR counts the forums of CQADupStack as one dataset, their mean.
_FORUMS = "beir/cqadupstack/"
_ONE_OF_THEM = "CQADupStack"


def per_dataset(outputs: Sequence[Results]) -> Table:
    """The primary measure of each system on each dataset, and the mean over datasets."""
    measure = _common_measure(outputs)
    columns = _by_name(outputs)
    if len(columns) < 2:
        raise NotMeasured("needs outputs of several datasets: task=tables path=[OUTPUT_A,OUTPUT_B]")
    systems: dict[str, tuple[str, str, int | None]] = {}
    for results in outputs:
        for s in in_order(results, results.uncut):
            systems.setdefault(s.run_name, (s.retriever, s.reranker, s.k))
    values = {
        name: [float(np.mean([_value(r, system, measure) for r in of])) for system in systems]
        for name, of in columns.items()
    }
    # A mean over fewer datasets than another system's must not stand beside it.
    means = [float(np.mean(row)) for row in zip(*values.values(), strict=True)]
    cells = [number_cells(column) for column in (*values.values(), means)]
    rows = [
        (*named(*system), *(column[i] for column in cells))
        for i, system in enumerate(systems.values())
    ]
    retrievers = list(dict.fromkeys(system[0] for system in systems.values()))
    sizes = ", ".join(
        f"{name} {sum(len(r.query_ids) for r in of):,}" for name, of in columns.items()
    )
    synthetic = dict.fromkeys(filter(None, (synthetic_note(r.dataset) for r in outputs)))
    words = [
        f"{display_name(measure)} by dataset. Queries: {sizes}.",
        *synthetic,
        _about_k(outputs),
        "Rankings are measured uncut. Average: the mean over datasets, each with the same weight.",
        about_models(outputs),
        measured_on(outputs),
    ]
    return Table(
        " ".join(filter(None, words)),
        (
            Column("Retriever", "left"), Column("Reranker", "left"), Column("K"),
            *map(Column, columns), Column("Average"),
        ),
        tuple(
            tuple(row for row, s in zip(rows, systems.values(), strict=True) if s[0] == retriever)
            for retriever in retrievers
        ),
        _notes(columns, means, outputs[0].level),
        "per_dataset",
    )  # fmt: skip


def _notes(
    columns: dict[str, list[Results]], means: Sequence[float], level: float
) -> tuple[str, ...]:
    notes = []
    forums = columns.get(_ONE_OF_THEM, ())
    if len(forums):
        counted = f"{len(forums)} {'forum' if len(forums) == 1 else 'forums'}"
        notes.append(f"{_ONE_OF_THEM}: the mean of {counted}.")
    if any(np.isnan(mean) for mean in means):
        notes.append("No average where a dataset was not measured with the system.")
    notes.append(f"{percent(level)} intervals of each value are in the table of its own output.")
    return tuple(notes)


def _by_name(outputs: Sequence[Results]) -> dict[str, list[Results]]:
    """Column → its outputs, one but for CQADupStack; NotMeasured for the same dataset twice."""
    columns: dict[str, list[Results]] = {}
    seen: set[str] = set()
    for results in outputs:
        name = results.dataset.dataset_id
        if name in seen:
            raise NotMeasured(
                f"two outputs are of {printable(name)}; give one output for each dataset"
            )
        seen.add(name)
        columns.setdefault(_short(name), []).append(results)
    return columns


def _short(dataset_id: str) -> str:
    """A column's title: "beir/scifact/test" → "scifact"; other ids as they are."""
    if dataset_id.startswith(_FORUMS):
        return _ONE_OF_THEM
    name = dataset_id.removeprefix("beir/").removesuffix("/test")
    return printable(name)


def _common_measure(outputs: Sequence[Results]) -> str:
    measure = outputs[0].measure_names[0]
    for results in outputs:
        if measure not in results.measure_names:
            raise NotMeasured(
                f"{printable(results.dataset.dataset_id)} has no {measure}, the first measure of "
                "the first output; run it with the same measures"
            )
    return measure


def _value(results: Results, system: str, measure: str) -> float:
    return next((s.measures[measure] for s in results.uncut if s.run_name == system), np.nan)


def _about_k(outputs: Sequence[Results]) -> str:
    ks = sorted({s.k for results in outputs for s in results.uncut if s.k is not None})
    return f"K ({', '.join(map(str, ks))}): candidates that are reranked." if ks else ""
