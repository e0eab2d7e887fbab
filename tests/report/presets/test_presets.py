"""Tables of the literature's shapes, from results whose numbers are known."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from evalkit.choices import data_folder
from evalkit.efficiency.percentiles import resampled, statistics
from evalkit.errors import ConfigError
from evalkit.report.presets import PRESETS, NotMeasured
from evalkit.report.render import to_markdown
from evalkit.report.table import DEFAULT, chosen_names, left_out, table_files, tables
from evalkit.report.wording import model_name
from evalkit.results import Results
from evalkit.settings import SignificanceSettings
from evalkit.statistics.section import significance_section

FOUR = ["nDCG@10", "R@100", "RR@10", "P@5"]


def shown(table):
    """The table's texts, headings first."""
    headings = [column.heading for column in table.columns]
    return [headings, *([cell.text for cell in row] for row in table.rows)]


def made(results, name):
    return PRESETS[name].build([results])


def small(make_results, **more):
    """BM25 and dense, each reranked at K 10 and 20, on two queries."""
    level = {
        ("bm25", "none", None): [0.2, 0.4],
        ("dense", "none", None): [0.3, 0.5],
        ("bm25", "ce", 10): [0.4, 0.6],
        ("bm25", "ce", 20): [0.5, 0.7],
        ("dense", "ce", 10): [0.6, 0.8],
        ("dense", "ce", 20): [0.9, 0.7],
    }
    cells = {
        (*key, None): {m: [v / (i + 1) for v in values] for i, m in enumerate(FOUR)}
        for key, values in level.items()
    }
    return make_results(cells, **more)


def timed(results, slower=1.0, device="cpu: 2 threads", load=0.5):
    """With latencies: 4 ms for a first stage, and 1 ms for each of K pairs."""
    draws = resampled(3, 200, 0)
    systems = []
    for s in results.uncut:
        rerank = slower * float(s.k or 0)
        stages = {"total": np.full((3, 2), 4 + rerank), "retrieval": np.full((3, 2), 4.0)}
        stages |= {"rerank": np.full((3, 2), rerank)} if s.k else {}
        systems.append(
            {
                "system": s.run_name, "retriever": s.retriever, "reranker": s.reranker, "k": s.k,
                "candidates": float(s.k or 0),
                "stages": {name: statistics(ms, draws, 0.95) for name, ms in stages.items()},
            }
        )  # fmt: skip
    protocol = {
        "queries": 3, "queries_wanted": 3, "queries_of_dataset": 3, "repeats": 2, "ci_level": 0.95,
        "skipped": [], "threads": {"cores": 2, "cores_usable": 2},
        "load_average": {"before": [load, 1.0, 1.0], "after": None},
    }  # fmt: skip
    section = {"protocol": protocol, "systems": systems, "models": []}
    manifest = {**results.manifest, "device": device}
    return replace(results, efficiency={"latency": section}, manifest=manifest)


def test_first_against_second_stage_at_the_largest_k(make_results):
    table = made(small(make_results), "first_second_stage")
    assert [row[:5] for row in shown(table)] == [
        ["Stage", "Retriever", "Reranker", "K", "Recall@100"],
        ["first", "bm25", "none", "–", "0.1500"],
        ["first", "dense", "none", "–", "0.2000"],
        ["second", "bm25", "ce", "20", "0.3000"],
        ["second", "dense", "ce", "20", "0.4000"],
    ]
    assert shown(table)[0][4:] == ["Recall@100", "MRR@10", "NDCG@10", "P@5"]
    assert [len(group) for group in table.groups] == [2, 2]
    assert "K (20): candidates" in table.caption


def test_a_measure_that_is_not_there_is_said_and_none_at_all_is_no_table(make_results):
    cells = {
        ("bm25", "none", None, None): {"nDCG@10": [0.5, 0.6]},
        ("bm25", "ce", 10, None): {"nDCG@10": [0.5, 0.6]},
    }
    table = made(make_results(cells), "first_second_stage")
    assert "Not measured: Recall@100, MRR@10, P@5." in table.notes
    other = {key: {"AP@100": [0.5, 0.6]} for key in cells}
    with pytest.raises(NotMeasured, match="measures="):
        made(make_results(other), "first_second_stage")


def test_rerankers_side_by_side(make_results):
    results = small(make_results)
    assert shown(made(results, "rerankers")) == [
        ["Reranker", "bm25", "dense"],
        ["none", "0.3000", "0.4000"],
        ["ce", "0.6000", "0.8000"],
    ]
    one = replace(results, systems=[s for s in results.systems if s.retriever == "bm25"])
    table = made(one, "rerankers")
    assert shown(table)[0] == ["Reranker", "NDCG@10", "Recall@100", "MRR@10", "P@5"]
    assert "over the candidates of bm25" in table.caption


def test_ablation_changes_one_part_of_the_best_system_at_a_time(make_results):
    table = made(small(make_results), "ablation")
    assert shown(table) == [
        ["Changed", "Retriever", "Reranker", "K", "NDCG@10", "Δ", "Higher", "Lower", "Equal"],
        ["best system", "dense", "ce", "20", "0.8000", "–", "–", "–", "–"],
        ["no reranker", "dense", "none", "–", "0.4000", "-0.4000", "0", "2", "0"],
        ["other retriever", "bm25", "ce", "20", "0.6000", "-0.2000", "0", "1", "1"],
        ["other K", "dense", "ce", "10", "0.7000", "-0.1000", "1", "1", "0"],
    ]


def test_the_differences_of_an_ablation_have_paired_intervals(realistic: Results):
    table = made(realistic, "ablation")
    row = next(row for row in table.rows if row[0].text == "no reranker")
    best, first = (
        next(s for s in realistic.uncut if (s.retriever, s.k) == ("hybrid", k)) for k in (20, None)
    )
    difference = first.values["nDCG@10"] - best.values["nDCG@10"]
    assert row[5].text == f"{difference.mean():+.4f}"
    theirs = scipy.stats.ttest_1samp(difference, 0).confidence_interval(realistic.level)
    assert row[5].interval == pytest.approx(tuple(theirs))


def test_the_best_system_may_have_no_reranker(make_results):
    cells = {
        ("bm25", "none", None, None): {"nDCG@10": [0.9, 0.9]},
        ("bm25", "ce", 10, None): {"nDCG@10": [0.5, 0.6]},
        ("dense", "ce", 10, None): {"nDCG@10": [0.5, 0.6]},
    }
    rows = shown(made(make_results(cells), "ablation"))[1:]
    assert [row[:2] for row in rows] == [["best system", "bm25"], ["with reranker", "bm25"]]


def test_recall_by_k_in_the_order_of_k(make_results):
    cells = {
        ("bm25", "none", None, None): {"nDCG@10": [0.5], "R@50": [0.6], "R@10": [0.4]},
        ("bm25", "ce", 10, None): {"nDCG@10": [0.5], "R@50": [0.6], "R@10": [0.4]},
    }
    table = made(make_results(cells, intervals=False), "recall_by_k")
    assert shown(table) == [["Retriever", "Recall@10", "Recall@50"], ["bm25", "0.4000", "0.6000"]]


def test_throughput_of_two_devices(make_results):
    gpu = timed(small(make_results), 0.1, "cuda:0")
    table = PRESETS["throughput"].build([timed(small(make_results)), gpu])
    rows = shown(table)
    assert rows[0] == ["Device", "Retriever", "Reranker", "K", "Queries/s", "Pairs/s"]
    # 20 pairs of 1 ms after 4 ms: 1000 / 24 a second, and 1000 pairs.
    assert rows[3] == ["cpu: 2 threads", "bm25", "ce", "20", "42", "1000"]
    assert rows[9] == ["cuda:0", "bm25", "ce", "20", "167", "10000"]
    assert [row[-1] for row in rows if row[2] == "none"] == ["–"] * 4
    assert "different datasets" not in " ".join(table.notes)
    assert "3 queries timed" in table.caption
    assert "No intervals: too few queries were timed." in table.caption
    assert "brackets" not in table.caption
    busy = PRESETS["throughput"].build([timed(small(make_results), load=9.5), gpu])
    of_load = [note for note in busy.notes if "load average" in note]
    assert [note.split(": The machine")[0] for note in of_load] == ["cpu: 2 threads"]


def of_datasets(make_results, *names):
    outputs = []
    for i, name in enumerate(names):
        cells = {
            ("bm25", "none", None, None): {"nDCG@10": [0.1 * i, 0.2]},
            ("dense", "none", None, None): {"nDCG@10": [0.3, 0.3]},
        }
        made = make_results(cells, dataset_id=name)
        outputs.append(replace(made, dataset=made.dataset._replace(digest=name)))
    return outputs


def test_per_dataset_as_beir_shows_it(make_results):
    names = ("beir/scifact/test", "beir/cqadupstack/tex", "mine", "beir/cqadupstack/gis")
    table = PRESETS["per_dataset"].build(of_datasets(make_results, *names))
    # CQADupStack: the mean of 0.15 and 0.25, one dataset of the average.
    assert shown(table) == [
        ["Retriever", "Reranker", "K", "scifact", "CQADupStack", "mine", "Average"],
        ["bm25", "none", "–", "0.1000", "0.2000", "0.2000", "0.1667"],
        ["dense", "none", "–", "0.3000", "0.3000", "0.3000", "0.3000"],
    ]
    assert "Queries: scifact 2, CQADupStack 4, mine 2." in table.caption
    assert "CQADupStack: the mean of 2 forums." in table.notes


def test_a_system_that_a_dataset_lacks_has_no_average(make_results):
    first, second = of_datasets(make_results, "a", "b")
    second = replace(second, systems=second.systems[:1])
    table = PRESETS["per_dataset"].build([first, second])
    assert shown(table)[2] == ["dense", "none", "–", "0.3000", "–", "–"]
    assert "No average" in " ".join(table.notes)


def test_one_dataset_twice_or_one_alone_is_no_table(make_results):
    first, second = of_datasets(make_results, "a", "a")
    with pytest.raises(NotMeasured, match="two outputs are of a"):
        PRESETS["per_dataset"].build([first, second])
    with pytest.raises(NotMeasured, match="several datasets"):
        PRESETS["per_dataset"].build([first])


@pytest.mark.parametrize(
    "name", ["k_latency", "latency_breakdown", "latency_model", "throughput", "cost_quality"]
)
def test_without_latency_a_line_says_which_run_to_make(make_results, name):
    results = small(make_results)
    assert tables(results, [name]) == []
    (line,) = left_out(results, [name])
    assert line.startswith(f"{name}: ")
    assert "latency=on" in line
    files = table_files(results, ["grid", name])
    assert line in files["table.md"]
    assert f"% {line}\n" in files["table.tex"]
    assert set(files) == {"table.md", "table.tex", "tables/grid.csv"}


def test_the_run_s_own_setting_says_which_tables_it_shows(make_results):
    def of(chosen):
        manifest = {"config": {"tables": chosen}}
        return [table.name for table in tables(small(make_results, manifest=manifest))]

    assert of(["ablation", "grid"]) == ["ablation", "grid"]
    assert of(list(DEFAULT)) == ["grid"]
    assert left_out(small(make_results)) == []


def test_captions_name_models_and_date_and_no_path_of_a_machine(make_results):
    manifest = {
        "created": "2026-06-30T12:00:00",
        "config": {
            "retriever": {"bm25": {"k1": 0.9}, "dense": {"model": "org/encoder"}},
            "reranker": {"ce": {"model": "/home/someone/models/tuned"}},
        },
    }
    results = small(make_results, manifest=manifest)
    for name in ("grid", "first_second_stage", "rerankers", "ablation"):
        caption = made(results, name).caption
        assert "Models: dense org/encoder, ce tuned. Measured 2026-06-30." in caption
        assert "2 queries, 1,000 documents" in caption


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("org/encoder", "org/encoder"),
        ("/home/someone/models/tuned", "tuned"),
        ("/home/someone/outputs/second_try/model", "second_try/model"),
        ("~/tuned", "tuned"),
    ],
)
def test_models_are_told_apart_by_name_without_the_machine_s_path(model, name):
    assert model_name(model) == name


def test_marks_of_significance_are_explained_below(realistic: Results):
    section = significance_section(realistic, SignificanceSettings())
    results = replace(realistic, significance=section)
    for name in ("grid", "first_second_stage", "rerankers", "recall_by_k"):
        table = made(results, name)
        assert any(cell.sign for row in table.rows for cell in row), name
        assert any("Significantly better than" in note for note in table.notes), name
        assert not any(cell.sign for row in made(realistic, name).rows for cell in row)


@pytest.mark.parametrize(
    ("given", "words"),
    [(["gird"], "Did you mean 'grid'"), ([], "empty"), (["grid", "grid"], "twice"), ("x", "list")],
)
def test_names_that_are_no_tables_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        chosen_names({"tables": given})


def test_a_table_has_the_name_of_its_preset_and_a_line_for_every_row(realistic: Results):
    for table in tables(realistic, ["grid", "cutoffs", "rerankers", "ablation", "recall_by_k"]):
        assert table.name in PRESETS
        assert to_markdown(table).count("\n|") == len(table.rows) + 2
    assert "tables: [grid, cutoffs]" in (data_folder("conf") / "config.yaml").read_text("utf-8")
