"""task=synthesize and task=agreement on the command line, against a chat server on loopback."""

import json

import pytest
from loopback import Loopback
from oracle import TEXTS, oracle


@pytest.fixture
def server():
    with Loopback() as running:
        running.answer = lambda messages: oracle(messages[-1]["content"])
        yield running


@pytest.fixture
def common(server, place):
    return (
        "llm=http", f"llm.url={server.url}/v1", "llm.model=oracle-9", "retriever=[bm25]",
        "reranker=[none]", "tracking=off", f"cache_dir={place}/cache",
    )  # fmt: skip


@pytest.fixture
def synthesize(common, place):
    for name, text in TEXTS.items():
        path = place / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return (*common, "task=synthesize", "path=docs", "out=made", "kinds=[question]",
            "least_words=5")  # fmt: skip


RUN = ("dataset=folder", "dataset.path=made", "sweep.n=[]", "bootstrap.resamples=100")


def test_documents_become_a_collection_and_every_output_says_what_it_is(
    server, synthesize, common, cli, place
):
    code, out, err = cli(*synthesize, "dry_run=true")
    assert code == 0, err
    assert "queries: at most 5 requests" in out
    assert "judgements: at most 30 requests" in out
    assert server.count == 0
    assert not (place / "made").exists()

    code, out, err = cli(*synthesize)
    assert code == 0, err
    assert "queries: 3 of 5 asked for; dropped: empty 1, refers_to_doc 1" in out
    assert "dataset.path=made dataset.relevance_level=2" in out
    about = json.loads((place / "made" / "synthetic.json").read_text(encoding="utf-8"))
    assert about["mark"] == "synthetic queries and judgements (oracle-9)"
    assert about["work"]["requests"] == server.count == 5 + about["pairs"]
    assert about["malformed"] > 0
    text = json.dumps(about)
    assert str(place) not in text
    assert "outputs" not in {path.name for path in place.iterdir()}

    code, out, err = cli(*common, *RUN, "dataset.relevance_level=2", "hydra.run.dir=run")
    assert code == 0, err
    note = "Synthetic queries and judgements (oracle-9)"
    assert note in out
    for name in ("table.md", "table.tex", "report.html"):
        assert note in (place / "run" / name).read_text(encoding="utf-8"), name
    results = json.loads((place / "run" / "results.json").read_text(encoding="utf-8"))
    assert results["dataset"]["synthetic"] == about["mark"]
    assert cli(*synthesize).code == 2  # it is there: nothing is written over


def test_the_same_command_goes_on_where_the_budget_ended(server, synthesize, cli, place):
    code, _, err = cli(*synthesize, "llm.max_requests=7")
    assert code == 2
    assert "max_requests=7 reached" in err
    assert server.count == 7
    assert {path.name for path in place.iterdir()} == {"docs", "cache"}
    code, _, err = cli(*synthesize)
    assert code == 0, err
    asked = [json.dumps(request.payload) for request in server.requests]
    assert len(set(asked)) == len(asked)
    about = json.loads((place / "made" / "synthetic.json").read_text(encoding="utf-8"))
    assert about["work"]["reused"] == 7


def test_agreement_is_written_shown_and_marked(server, common, cli, place, collection):
    data = ("dataset=folder", f"dataset.path={collection.path}", "bootstrap.resamples=100")
    study = (*common, *data, "task=agreement", "depth=3", "count_unjudged=true",
             "hydra.run.dir=found")  # fmt: skip
    code, out, err = cli(*study, "dry_run=true")
    assert code == 0, err
    assert "judgements: at most 17 requests" in out
    assert server.count == 0
    code, out, err = cli(*study)
    assert code == 0, err
    assert "people's judgements against those of oracle-9 (synthetic)" in out
    assert "Kendall's τ" in out
    found = json.loads((place / "found" / "agreement.json").read_text(encoding="utf-8"))
    assert found["counts"]["pairs"] == server.count == found["work"]["requests"]
    assert sum(map(sum, found["confusion"])) == found["counts"]["pairs_compared"]
    assert "agreement.md" in {path.name for path in (place / "found").iterdir()}
    code, out, err = cli(
        "dataset=qrels", "dataset.path=found/qrels.tsv", "retriever=[run_file]", "tracking=off",
        f"retriever.run_file.paths=[{_run_file(place)}]", "reranker=[none]", "sweep.n=[]",
        "bootstrap.resamples=100", "measures=[nDCG@10]",
    )  # fmt: skip
    assert code == 0, err
    assert "Synthetic judgements (oracle-9)" in out


def _run_file(place):
    path = place / "mine.trec"
    path.write_text("".join(f"q{i} Q0 d1 1 1.0 x\n" for i in range(1, 5)))
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("path=nowhere",), "nowhere: no such folder or file"),
        (("kinds=[riddle]",), "write_query_riddle"),
        (("num_docs=0",), "num_docs=0"),
        (("judge_prompt=listwise",), "pointwise_umbrela"),
        (("llm.model=null",), "llm.model is not set"),
    ],
)
def test_mistakes_are_a_line(synthesize, refused, arguments, words):
    assert words in refused(*synthesize, *arguments)


def test_out_must_be_given(synthesize, refused):
    assert "out has no value; give it as out=" in refused(
        *(part for part in synthesize if not part.startswith("out="))
    )
