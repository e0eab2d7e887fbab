"""What the model that a training goes on from has learned already: a leak like any other.

`task=train` leaves a model's data beside it, and in its record where that model came from. A test
query among the data of any of these trainings is known to the model that comes out, however clean
the new data is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import DataError
from evalkit.io import read_json
from evalkit.similarities import wording
from evalkit.training.data import ORIGIN_FILE, TrainingData
from evalkit.training.record import RECORD
from evalkit.types import Dataset, Query

_SHOWN = 120  # characters of a query in a message


class Earlier(NamedTuple):
    """A training that the model comes from. model: its folder. data: what was learned from."""

    model: Path
    data: TrainingData


def earlier_trainings(model: Path) -> list[Earlier]:
    """The trainings behind a model's folder, the latest first; empty for one that is not from
    `task=train`. Ends at a model of which no data is there any more."""
    found: list[Earlier] = []
    while True:
        folder = model.parent
        outputs = folder / RECORD, folder / "data" / ORIGIN_FILE
        if model in [each.model for each in found] or not all(map(Path.is_file, outputs)):
            return found
        found.append(Earlier(model, TrainingData.load(folder / "data")))
        base = (read_json(folder / RECORD) or {}).get("base", {})
        model = Path(str(base.get("started_from", ""))).expanduser().resolve()


def inherited(
    earlier: Sequence[Earlier],
    evaluations: Sequence[Dataset],
    validation: Sequence[Query],
    allow_queries: bool,
) -> list[dict[str, Any]]:
    """What each earlier training has seen word for word of the evaluated queries, by dataset, and
    of those of the new validation: JSON data. DataError for an evaluated one unless allowed."""
    facts = []
    for model, data in earlier:
        known = {wording(query.text): query.query_id for query in data.queries}
        seen = {each.dataset_id: _seen(each.queries, known) for each in evaluations}
        for dataset_id, queries in seen.items():
            if queries and not allow_queries:
                first = queries[0]
                raise DataError(
                    f"{len(queries)} of the queries of {dataset_id} are in the data that the model "
                    f"to go on from, {model}, has learned from, e.g. '{first.query_id}' "
                    f"({first.text[:_SHOWN]}) as '{known[wording(first.text)]}'; what is trained "
                    "further cannot be measured by them: choose another training.model, or allow "
                    "it on purpose with training.test_queries=allow"
                )
        facts.append(
            {
                "model": str(model),
                "data_digest": data.digest,
                "evaluated_queries": {name: len(queries) for name, queries in seen.items()},
                "validation_queries": len(_seen(validation, known)),
            }
        )
    return facts


def _seen(queries: Sequence[Query], known: dict[bytes, str]) -> list[Query]:
    return [query for query in queries if wording(query.text) in known]
