"""The mark of a collection that a language model made, wherever its files are read."""

import json

import pytest

from evalkit.datasets.folder import FolderDataset
from evalkit.datasets.qrels_file import QrelsFile
from evalkit.errors import DataError
from evalkit.experiment import dataset_info

MARK = "synthetic queries and judgements (m)"


def marked(folder, **changes):
    content = {"evalkit_synthetic": 1, "mark": MARK, **changes}
    (folder / "synthetic.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_folder_and_its_qrels_file_carry_the_mark(beir_folder):
    folder = marked(beir_folder())
    dataset = FolderDataset(folder)
    assert dataset.synthetic == MARK
    assert dataset_info(dataset).synthetic == MARK
    assert dataset.with_split("test").synthetic == MARK
    assert QrelsFile(folder / "qrels" / "test.tsv").synthetic == MARK
    assert any("dataset.relevance_level=2" in line for line in dataset.warnings)
    assert not any(
        "relevance_level" in w for w in FolderDataset(folder, relevance_level=2).warnings
    )


def test_others_carry_none(beir_folder):
    folder = beir_folder()
    assert FolderDataset(folder).synthetic == ""
    assert dataset_info(FolderDataset(folder)).synthetic == ""
    (folder / "synthetic.json").write_text('{"made": "by another program"}')
    assert FolderDataset(folder).synthetic == ""
    assert QrelsFile(folder / "qrels" / "test.tsv").synthetic == ""


@pytest.mark.parametrize("changes", [{"mark": " "}, {"mark": None}, {"evalkit_synthetic": 2}])
def test_a_mark_that_was_lost_is_an_error(beir_folder, changes):
    dataset = FolderDataset(marked(beir_folder(), **changes))
    with pytest.raises(DataError, match='expected "evalkit_synthetic": 1 and a "mark"'):
        dataset.synthetic  # noqa: B018
