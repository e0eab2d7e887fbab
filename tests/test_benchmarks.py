"""The speed scripts run, and what they count and compare is right; no test is of their figures."""

from __future__ import annotations

import importlib
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tiny

FOLDER = Path(__file__).parents[1] / "experiments" / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text("utf-8"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """name, arguments → the script's module, its command line set to these arguments."""
    modules = dict(sys.modules)
    disabled = logging.root.manager.disable
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str, *arguments: object) -> ModuleType:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        return importlib.import_module(name)

    yield load
    logging.disable(disabled)
    for name in set(sys.modules) - set(modules):
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == FOLDER:
            del sys.modules[name]  # their names are too common to be left about


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_how_it_is_called(name, script, capsys):
    with pytest.raises(SystemExit) as ended:
        script(name, "--help").main()
    assert ended.value.code == 0
    assert f"usage: {name}.py" in capsys.readouterr().out


def table(printed: str) -> dict[str, dict[str, str]]:
    """The rows of a printed Markdown table, by their first cell: column → cell."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in printed.splitlines()
        if line.startswith("| ")
    ]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def test_bm25_from_texts_to_the_top_k(tmp_path, script, capsys):
    collection = tiny.write_collection(tmp_path / "collection")
    script("bm25", "--collection", collection, "--k", 7, "--rounds", 1).main()
    printed = capsys.readouterr().out
    rows = table(printed)
    assert {"bm25s, numpy", "evalkit"} <= rows.keys()
    for row in rows.values():
        assert float(row["queries/s"].replace(",", "")) > 0
        assert 0 < float(row["nDCG@10"]) <= 1
    assert rows["evalkit"]["× ours"] == "1.00"
    assert "scores differ by 0.0e+00 at most" in printed


@pytest.mark.parametrize("spoilt", ["score", "doc", "fewer"])
def test_bm25_tells_results_that_differ(spoilt, tmp_path, script):
    from evalkit.run import Run

    bm25 = script("bm25")
    collection = bm25.Collection(str(tiny.write_collection(tmp_path / "made")), "test", None)
    ours = bm25.competitors(1.2, 0.75)["evalkit"]
    _, run = bm25.once(ours(), collection, 5)
    bm25.check(bm25.agreement(collection, run, 1.2, 0.75, 5))
    found = {query_id: dict(run[query_id]) for query_id in run.query_ids}
    best, *_, last = found["q0"]
    if spoilt == "score":
        found["q0"][best] += 0.01
    elif spoilt == "doc":
        others = set(collection.ids.tolist()) - set(found["q0"])
        found["q0"][min(others)] = found["q0"].pop(best)
    else:
        del found["q0"][last]
    wrong = bm25.agreement(collection, Run.from_dict(found, run.query_ids), 1.2, 0.75, 5)
    with pytest.raises(SystemExit, match="not the same results"):
        bm25.check(wrong)


def test_texts_are_encoded_by_both_and_the_same(tmp_path, script, capsys):
    collection = tiny.write_collection(tmp_path / "collection")
    model = tiny.save_bi_encoder(tmp_path / "model")
    given = ("--collection", collection, "--model", model, "--docs", 9, "--queries", 2)
    module = script("encoding", *given)
    module.main()
    printed = capsys.readouterr().out
    rows = table(printed)
    assert list(rows) == [module.THEIRS, module.OURS]
    assert rows[module.OURS]["× ours"] == "1.00"
    assert all(float(row["a query alone, ms"]) > 0 for row in rows.values())
    assert printed.startswith("9 docs, 2 queries")


def test_pairs_are_scored_by_all_and_the_same(tmp_path, script, capsys):
    collection = tiny.write_collection(tmp_path / "collection")
    pairs = ("--collection", collection, "--queries", 2, "--depth", 3)
    module = script("pair_scoring", *pairs, "--size", "tiny", "--rounds", 1)
    module.main()
    printed = capsys.readouterr().out
    rows = table(printed)
    assert next(iter(rows)) == module.AS_IT_COMES
    assert list(rows)[-1].startswith("evalkit, ")
    for name, row in rows.items():
        assert float(row["pairs/s"].replace(",", "")) > 0
        assert (row["of peak"] != "") == name.startswith("evalkit")
        if "16" not in name:
            assert float(row["largest difference"]) < 1e-5
    assert "6 pairs" in printed


def test_pairs_are_scored_by_a_real_model(tmp_path, script, capsys):
    model = tiny.save_cross_encoder(tmp_path / "model")
    profile = ("--profiles", "short/short", "--pairs", 5, "--peers", "evalkit", "--rounds", 1)
    script("pair_scoring", *profile, "--model", model).main()
    printed = capsys.readouterr().out
    assert all(name.startswith("evalkit") for name in table(printed))
    assert "limit 64" in printed


def test_half_precision_is_compared_with_float32(tmp_path, script, capsys):
    collection = tiny.write_collection(tmp_path / "collection", docs=120)
    model = tiny.save_cross_encoder(tmp_path / "model")
    given = ("--collection", collection, "--model", model, "--depth", 60, "--listed", 2)
    script("precision", *given, "--batches", "--reference").main()
    printed = capsys.readouterr().out
    heading, *lines = printed.splitlines()
    assert heading.startswith("8 queries, 480 pairs")
    found = {line.partition(":")[0]: line for line in lines if not line.startswith(" ")}
    assert "same top 10 for 100.0 % (8 of 8 queries)" in found["confirmed against float32"]
    best = re.search(r"in the top 10 (\S+?)\)", found["confirmed against float32"])
    assert best is not None
    assert float(best[1]) < 1e-5
    half = found["bfloat16 against float32"]
    assert "(8 of 8" not in half
    at = lines.index(half)
    assert all("gaps in the base" in line for line in lines[at + 1 : at + 3])
    assert "(8 of 8 queries)" in found["float32, sentence-transformers"]
    assert {"bfloat16, batches one by one", "bfloat16, batches large"} <= found.keys()


def test_pairs_are_asked_for(script, capsys):
    with pytest.raises(SystemExit) as ended:
        script("pair_scoring").main()
    assert ended.value.code == 2
    assert "give --collection PATH, --profiles, or both" in capsys.readouterr().err


def classifier(family: str, **settings):
    import transformers

    config = getattr(transformers, f"{family}Config")(
        vocab_size=99, hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=48, num_labels=1, pad_token_id=0, attn_implementation="eager", **settings,
    )  # fmt: skip
    return getattr(transformers, f"{family}ForSequenceClassification")(config).eval()


def counted(run: Callable[[], object]) -> int:
    """The operations that PyTorch counts."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("family", ["Bert", "XLMRoberta", "ModernBert"])
def test_operations_are_those_that_pytorch_counts(family, script):
    """A sequence alone, of at most half the local window: neither padding nor a mask."""
    import torch

    model, lengths = classifier(family), np.array([7, 20, 64])
    found = sum(
        counted(lambda n=n: model(torch.ones(1, n, dtype=torch.int64))) for n in lengths.tolist()
    )
    assert script("pair_arithmetic").operations(model.config, lengths, False) == found


def test_operations_of_a_last_layer_for_first_tokens_alone(script, monkeypatch):
    import torch

    from evalkit.scoring import products
    from evalkit.scoring.encoder import PackedClassifier

    monkeypatch.setattr(products, "prefers_onednn", lambda _: False)  # PyTorch does not count those

    def kernel(query, key, value, *_):
        """Attention by plain products, which PyTorch counts on any device; one sequence."""
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        return (torch.softmax(query @ key.transpose(1, 2), -1) @ value).transpose(0, 1)

    model, lengths = classifier("Bert"), np.array([20])
    packed = PackedClassifier(model, torch.float32, kernel)
    ids = torch.ones(20, dtype=torch.int64)
    found = counted(lambda: packed.logits(ids, None, torch.tensor([0, 20])))
    assert script("pair_arithmetic").operations(model.config, lengths, True) == found


def test_operations_within_a_local_window(script):
    lengths = np.arange(1, 40)
    for reach in (1, 8, 64):
        seen = (np.abs(np.subtract.outer(range(n), range(n))) <= reach for n in lengths.tolist())
        expected = sum(int(mask.sum()) for mask in seen)
        assert script("pair_arithmetic").met(lengths, reach) == expected


def test_operations_of_other_architectures_are_not_guessed(script):
    import transformers

    config = transformers.DebertaV2Config()
    assert script("pair_arithmetic").operations(config, np.array([5]), False) is None


def test_modernbert_has_the_figures_of_transformers(script, tmp_path):
    import transformers

    default, shape = transformers.ModernBertConfig(), script("pair_workload").SIZES["modernbert"]
    assert (shape.hidden, shape.layers, shape.heads, shape.inner) == (
        default.hidden_size, default.num_hidden_layers, default.num_attention_heads,
        default.intermediate_size,
    )  # fmt: skip


@pytest.mark.parametrize("types", [True, False])
def test_a_tokenizer_tells_query_from_doc_where_asked(types, script, tmp_path):
    import transformers

    script("pair_workload").save_tokenizer(tmp_path, types)
    read = transformers.AutoTokenizer.from_pretrained(tmp_path)("a query", "a doc")
    assert ("token_type_ids" in read) == types
