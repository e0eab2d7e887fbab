"""task=store: what it prints, how it ends, and that a run's scores are the ones it sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stored import pairs

import evalkit
from evalkit.errors import ConfigError, DataError
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.scoring.store import ScoreStore
from evalkit.settings import TrackingSettings, checked
from evalkit.tasks import Job, task_module
from evalkit.tasks.store import Settings, in_bytes, perform


class LengthScorer:
    """Scores by the doc's length; says what it is."""

    fingerprint = "0123456789abcdef"
    about = {"model": "a/model", "max_length": 512}  # noqa: RUF012

    def score(self, pairs):
        return np.array([len(doc) for _, doc in pairs], dtype=np.float32)


@pytest.fixture
def cache(tmp_path) -> Path:
    """A cache folder with two scorers: four segments of 5, and one of 10 pairs."""
    reranker = PointwiseReranker(LengthScorer(), cache_dir=tmp_path)
    for first in range(0, 20, 5):
        reranker.score_texts([("query", "x" * length) for length in range(first, first + 5)])
    ScoreStore(tmp_path / "scores", "another").add(*pairs(10), np.arange(10))
    return tmp_path


def done(cache: Path, action: str) -> None:
    job = Job(
        folder=cache,
        tracking=TrackingSettings("off"),
        parts=pytest.fail,
        component=pytest.fail,
        config={"cache_dir": str(cache)},
    )
    perform(checked(Settings, {"action": action}, ""), job)


def segments(cache: Path) -> list[Path]:
    return sorted((cache / "scores" / LengthScorer.fingerprint).glob("*.parquet"))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_stats(cache, capsys):
    for segment in segments(cache):
        os.utime(segment, (0, 0))
    size = sum(segment.stat().st_size for segment in segments(cache))
    done(cache, "stats")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Scores in {cache / 'scores'}"
    at = lines.index("0123456789abcdef  scorer=LengthScorer, model=a/model, max_length=512")
    assert lines[at + 1].startswith(f"  20 pairs · 4 segments · {in_bytes(size)} · last written 19")
    assert lines[at + 1].endswith(" · 0 damaged files")
    at = lines.index("another  (no description)")
    assert lines[at + 1].startswith("  10 pairs · 1 segment · ")
    assert lines[-1].startswith("In all: 2 scorers, 30 pairs, ")


@pytest.mark.parametrize("action", ["stats", "verify", "compact"])
def test_a_store_that_is_not_there(tmp_path, capsys, action):
    done(tmp_path, action)
    assert "No scores in" in capsys.readouterr().out
    assert not (tmp_path / "scores").exists()


def test_verify(cache, capsys, caplog):
    done(cache, "verify")
    assert "0123456789abcdef  4 segments sound, 20 pairs\n" in capsys.readouterr().out
    broken = segments(cache)[1:3]
    for path in broken:
        flip_a_byte(path)
    with pytest.raises(DataError, match=r"^2 damaged segments in .*scored again when"):
        done(cache, "verify")
    out = capsys.readouterr().out
    assert "0123456789abcdef  2 segments sound, 10 pairs; 2 damaged, set aside\n" in out
    assert "another  1 segment sound, 10 pairs\n" in out
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    for path, warning in zip(broken, warnings, strict=True):
        assert str(path.with_suffix(".damaged")) in warning
    done(cache, "verify")
    done(cache, "stats")
    assert " · 2 damaged files\n" in capsys.readouterr().out


def test_compact(cache, capsys):
    done(cache, "compact")
    out = capsys.readouterr().out
    assert "0123456789abcdef  4 segments → 1, 20 pairs, " in out
    assert "another  1 segment, nothing to merge\n" in out
    assert len(segments(cache)) == 1
    reranker = PointwiseReranker(LengthScorer(), cache_dir=cache)
    found = reranker.score_texts([("query", "x" * length) for length in range(20)])
    assert found.counts == (20, 20, 0)
    np.testing.assert_array_equal(found.scores, np.arange(20))


def test_settings_name_the_actions():
    assert task_module("store").Settings().action == "stats"
    with pytest.raises(ConfigError, match="action=merge: input should be 'stats', 'verify' or"):
        checked(Settings, {"action": "merge"}, "")


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (36_200_000, "36.2 MB"),
                        (5 * 10**15, "5000.0 TB")]
)  # fmt: skip
def test_sizes(size, shown):
    assert in_bytes(size) == shown


def test_the_command_line_ends_with_2_on_damage_and_0_without(cache, tmp_path):
    def command(action: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable, "-m", "evalkit", "task=store", f"action={action}",
                f"cache_dir={cache}", f"hydra.run.dir={tmp_path / 'out'}",
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(evalkit.__file__).parents[1])},
        )  # fmt: skip

    shown = command("stats")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "20 pairs · 4 segments" in shown.stdout
    flip_a_byte(segments(cache)[0])
    found = command("verify")
    assert found.returncode == 2
    warning, line = found.stderr.splitlines()
    assert "its checksum differs" in warning
    assert line.startswith("evalkit: 1 damaged segment in ")
    assert command("verify").returncode == 0
    assert not (tmp_path / "out").exists()
    assert json.loads((cache / "scores" / LengthScorer.fingerprint / "scorer.json").read_text())
