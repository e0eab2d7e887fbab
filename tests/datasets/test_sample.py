from __future__ import annotations

from pathlib import Path

import pytest

import evalkit.datasets.sample
from evalkit.datasets.sample import SampleDataset
from evalkit.types import Dataset

DATA = Path(evalkit.datasets.sample.__file__).parent / "sample_data"


@pytest.mark.skipif(not DATA.is_dir(), reason="NOT CHECKED: the sample data is not here")
def test_the_sample_opens_from_anywhere_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = SampleDataset()
    assert isinstance(dataset, Dataset)
    assert (dataset.dataset_id, dataset.split) == ("evalkit-sample", "test")
    assert dataset.warnings == ()
    assert dataset.num_docs == len(list(dataset.docs_iter())) > 0
    assert len(dataset.tags) > 0
    assert SampleDataset(relevance_level=2).relevance_level == 2
