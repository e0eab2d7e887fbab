"""A model's earlier trainings are found, and what they have seen is a leak."""

from __future__ import annotations

import pytest
from learnable import learnable_data

from evalkit.errors import DataError
from evalkit.io import write_json
from evalkit.testing import TextDataset
from evalkit.training.lineage import earlier_trainings, inherited
from evalkit.training.record import RECORD
from evalkit.types import Doc, Query


def output(folder, started_from, queries):
    """What task=train leaves; its model's folder."""
    data = learnable_data(queries=queries)
    data.save(folder / "data")
    write_json(folder / RECORD, {"base": {"started_from": str(started_from)}})
    (folder / "model").mkdir()
    return folder / "model", data


def evaluation(*texts):
    queries = [Query(f"t{i}", text) for i, text in enumerate(texts)]
    return TextDataset([Doc("d", "", "text")], queries, [], "held-out/test")


def test_the_trainings_behind_a_model_are_found_latest_first(tmp_path):
    first, one = output(tmp_path / "first", "hub/name", queries=3)
    second, two = output(tmp_path / "second", first, queries=4)
    third, three = output(tmp_path / "third", second, queries=5)
    found = earlier_trainings(third)
    assert [each.model for each in found] == [third, second, first]
    assert [each.data.digest for each in found] == [three.digest, two.digest, one.digest]
    assert earlier_trainings(tmp_path / "other" / "model") == []


def test_a_circle_of_folders_ends(tmp_path):
    model, _ = output(tmp_path / "out", tmp_path / "out" / "model", queries=3)
    assert len(earlier_trainings(model)) == 1


def test_an_evaluated_query_that_was_learned_from_is_refused(tmp_path):
    model, data = output(tmp_path / "out", "hub/name", queries=3)
    seen = data.queries[1].text
    held_out = evaluation("never seen", f"{seen.upper()}!")
    earlier = earlier_trainings(model)
    with pytest.raises(DataError, match=r"1 of the queries of held-out/test .*'t1'.* as 'q1'"):
        inherited(earlier, [held_out], [], allow_queries=False)
    validation = [Query("a", seen), Query("b", "new")]
    (fact,) = inherited(earlier, [held_out], validation, allow_queries=True)
    assert fact["evaluated_queries"] == {"held-out/test": 1}
    assert fact["validation_queries"] == 1
    assert inherited(earlier, [evaluation("never seen")], [], allow_queries=False)
