"""What all tests share: caches of their own, no network, and the shared collections."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

from evalkit.datasets.folder import FolderDataset

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several test processes share the cores: each library keeps to one, before it is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control starts what runs in its background deaf to Ctrl-C, and so would be all
# that the tests of interrupts start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[1].parent / "shared" / "data"

# Derandomised, so that a commit is either green or red; no deadline on machines that are shared.
settings.register_profile(
    "evalkit", deadline=None, database=None, derandomize=True, max_examples=100
)
settings.load_profile("evalkit")


@pytest.fixture(scope="session", autouse=True)
def _own_caches_and_no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Never touch a user's cache. `HF_HUB_OFFLINE=0 pytest -m network` lets the hub through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVALKIT_CACHE", str(tmp_path_factory.mktemp("evalkit_cache")))
        patch.setenv("IR_DATASETS_HOME", str(tmp_path_factory.mktemp("ir_datasets_home")))
        patch.setenv("HF_HUB_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "1"))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real collections and runs; its tests are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"NOT CHECKED: the shared data is missing ({SHARED})")
    return SHARED


@pytest.fixture
def collection(tmp_path: Path) -> Callable[..., FolderDataset]:
    """A dataset of {doc_id: text} and {query_id: text}; each query has one judgement."""

    def build(
        docs: Mapping[str, str], queries: Mapping[str, str], name: str = "collection"
    ) -> FolderDataset:
        folder = tmp_path / name
        (folder / "qrels").mkdir(parents=True)
        for file, texts in (("corpus.jsonl", docs), ("queries.jsonl", queries)):
            rows = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
            (folder / file).write_text("\n".join(rows), encoding="utf-8")
        qrels = [f"{query_id} 0 {next(iter(docs))} 1" for query_id in queries]
        (folder / "qrels" / "test.trec").write_text("\n".join(qrels), encoding="utf-8")
        return FolderDataset(folder)

    return build
