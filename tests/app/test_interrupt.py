"""Ctrl-C and bugs: what they leave in the output folder, and that the next run completes."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest
from tiny import write_collection

PATIENCE_S = 120


@pytest.fixture
def slow_run(place: Path, tmp_path: Path, tiny_model) -> tuple[str, ...]:
    """A cross-encoder that writes every few scores, so that an interrupt falls in between."""
    folder = write_collection(place / "collection", docs=60, queries=8)
    return (
        "dataset=folder", f"dataset.path={folder}", "retriever=[bm25]",
        "reranker=[none,cross_encoder]", f"reranker.cross_encoder.model={tiny_model('ce')}",
        "sweep.k=[40]", "sweep.n=[]", "tracking=off", f"cache_dir={tmp_path}/cache",
        f"hydra.run.dir={place}/out",
    )  # fmt: skip


def wait_for_scores(cache: Path, process) -> None:
    end = time.monotonic() + PATIENCE_S
    while len(list(cache.glob("scores/*/*.parquet"))) < 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_ctrl_c_in_the_middle_is_marked_and_the_next_run_goes_on(
    shell, cli, slow_run, place, tmp_path
):
    process = shell(*slow_run, "reranker.cross_encoder.chunk_size=2")
    wait_for_scores(tmp_path / "cache", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert out == ""
    assert err.startswith("Interrupted.")
    assert err.count("\n") == 1
    output = place / "out"
    assert [path.name for path in output.iterdir()] == ["INCOMPLETE"]
    assert re.match(r"interrupted \d{4}-\d\d-\d\d ", (output / "INCOMPLETE").read_text())

    code, _, err = cli("task=log", f"path={output}", "tracking.uri=sqlite:///mlflow.db")
    assert code == 2
    assert re.search(r"not a finished output folder \(interrupted .*run it again", err)

    assert cli(*slow_run).code == 0
    assert not (output / "INCOMPLETE").exists()
    assert (output / "results.json").is_file()
    reused = re.search(r'"reused": (\d+)', (output / "execution.json").read_text())
    assert int(reused[1]) >= 6


def test_ctrl_c_while_libraries_load_says_nothing(shell):
    code = (
        "import builtins, signal, os\n"
        "real = builtins.__import__\n"
        "def importing(name, *rest):\n"
        "    if name == 'hydra': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = importing\n"
        "from evalkit.__main__ import main\n"
        "main()\n"
    )
    process = shell(program=("-c", code))
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_bug_keeps_its_traceback(shell, small, place):
    code = "import evalkit.tasks.run as t; t.write_output = 0; from evalkit.app import main; main()"
    process = shell(*small, f"hydra.run.dir={place}/out", program=("-c", code))
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "Traceback" in err
    assert "TypeError: 'int' object is not callable" in err
    assert (place / "out" / "INCOMPLETE").read_text() == "failed\n"
    assert not (place / "out" / "results.json").exists()


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, ZeroDivisionError])
def test_trouble_after_the_results_does_not_mark_them(cli, small, place, monkeypatch, trouble):
    def show(_):
        raise trouble

    monkeypatch.setattr("evalkit.tasks.run.show_results", show)
    if trouble is KeyboardInterrupt:
        assert cli(*small, f"hydra.run.dir={place}/out").code == 130
    else:
        with pytest.raises(trouble):
            cli(*small, f"hydra.run.dir={place}/out")
    assert (place / "out" / "results.json").is_file()
    assert not (place / "out" / "INCOMPLETE").exists()
