"""The manifest says which code and which device made the numbers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from evalkit.errors import ConfigError
from evalkit.manifest import build_manifest, git_commit

CUDA, MPS = torch.cuda.is_available(), torch.backends.mps.is_available()


def git(folder: Path, *arguments: str) -> str:
    me = ("-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *me, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed checkout with a package and its conf, as evalkit's own is."""
    if shutil.which("git") is None:
        pytest.skip("NOT CHECKED: git is not installed")
    for name in ("evalkit/app.py", "conf/config.yaml", ".gitignore"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("__pycache__/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("new\n")


def test_results_and_caches_do_not_make_a_commit_dirty(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    for name in ("outputs/default/x.json", "mlflow.db", "evalkit/__pycache__/app.pyc"):
        write(checkout / name)
    assert git_commit(checkout / "evalkit") == commit


@pytest.mark.parametrize("name", ["evalkit/app.py", "evalkit/new.py", "conf/tracking/new.yaml"])
def test_changed_and_new_modules_and_settings_do(checkout: Path, name: str) -> None:
    write(checkout / name)
    assert git_commit(checkout / "evalkit") == git(checkout, "rev-parse", "HEAD") + "+dirty"


def test_what_git_cannot_tell_is_not_called_clean(checkout: Path) -> None:
    (checkout / ".git" / "index").write_bytes(b"no index")
    assert str(git_commit(checkout / "evalkit")).endswith("+dirty")


def test_without_a_checkout_or_a_commit_there_is_none(checkout: Path) -> None:
    git(checkout, "update-ref", "-d", "HEAD")
    assert git_commit(checkout / "evalkit") is None
    shutil.rmtree(checkout / ".git")
    assert git_commit(checkout / "evalkit") is None


def test_the_device_is_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine with GPUs, which most that run these tests lack.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"the GPU {device}")
    described = {
        device: build_manifest({"device": device}, {})["device"]
        for device in ("cpu", "cuda", "cuda:1", None)
    }
    count = torch.get_num_threads()
    assert re.fullmatch(rf"cpu: {count} thread{'s' * (count > 1)}, .+", described.pop("cpu"))
    assert described == {
        "cuda": "cuda: the GPU cuda",
        "cuda:1": "cuda:1: the GPU cuda:1",
        None: "cuda: the GPU cuda",
    }


@pytest.mark.skipif(CUDA or MPS, reason="NOT CHECKED: this machine has another device")
def test_without_a_gpu_it_is_the_cpu() -> None:
    assert build_manifest({}, {})["device"].startswith("cpu: ")


@pytest.mark.parametrize("device", ["cuda:99", "cuda:x"])
def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    with pytest.raises(ConfigError, match=f"device={device} is not usable here"):
        build_manifest({"device": device}, {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=f"device={device} is not usable here"):
        build_manifest({"device": device}, {})


def test_it_is_json_without_credentials() -> None:
    config = {"tracking": {"uri": "http://me:secret@tracker"}, "names": ("a", "http://u:p@h")}
    manifest = build_manifest(config, {"retriever.bm25": "f"}, ["one line"])
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["config"] == {"tracking": {"uri": "http://tracker"}, "names": ["a", "http://h"]}
    assert (manifest["fingerprints"], manifest["warnings"]) == (
        {"retriever.bm25": "f"},
        ["one line"],
    )
    assert "secret" not in json.dumps(manifest)
