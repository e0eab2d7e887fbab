"""The notebooks: each runs from top to bottom on a small output; kept without its results."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import HashScorer

from evalkit.datasets.sample import SampleDataset
from evalkit.execution import ExecutionLog
from evalkit.experiment import Experiment
from evalkit.output import write_output
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.retrievers.bm25 import BM25Retriever
from evalkit.settings import BootstrapSettings, MeasureSettings, SweepSettings

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TIMEOUT_S = 300  # of a cell; a machine that others use starts a kernel slowly


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished output folder: the English half of the sample, with a reranker at three K."""
    folder = tmp_path_factory.mktemp("notebooks")
    dataset = SampleDataset("en")
    results = Experiment(
        dataset,
        {"bm25": BM25Retriever(cache_dir=folder / "cache")},
        {"none": NoReranker(), "hash": PointwiseReranker(HashScorer(), cache_dir=folder / "cache")},
        SweepSettings(k=[5, 10, 20], n=[5]),
        MeasureSettings(["nDCG@10", "R@10"]),
        BootstrapSettings(resamples=200),
        manifest={"config": {"name": "notebooks"}},
    ).run()
    write_output(folder / "out", results, dataset.queries, ExecutionLog())
    return folder / "out"


def cells(path: Path):
    nbformat = pytest.importorskip("nbformat", reason="NOT CHECKED: needs nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["own_plot", "own_reranker", "reading_results"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_its_results(path):
    for cell in cells(path).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
        assert not cell.metadata


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, output, tmp_path, monkeypatch):
    reason = 'NOT CHECKED: needs pip install "evalkit[notebooks]"'
    nbclient = pytest.importorskip("nbclient", reason=reason)
    monkeypatch.setenv("EVALKIT_OUTPUT", str(output))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel chooses the one that shows plots
    notebook = cells(path)
    # Its own empty folder, so that nothing is found that the notebook did not ask for.
    client = nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": tmp_path}},
    )
    client.execute()
    shown = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert shown
    texts = str([cell.outputs for cell in shown])
    for what in EXPECTED[path.stem]:
        assert what in texts, what
    assert not list(tmp_path.iterdir())


# What a reader of the notebook sees, whatever the figures.
EXPECTED = {
    "reading_results": ["bm25+hash+k20+n5", "evalkit-sample/en", "doc_id"],
    "own_plot": ["image/png", " bytes"],
    "own_reranker": ["bm25+trigrams+k20", "95 % interval"],
}
