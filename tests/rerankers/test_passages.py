"""Long documents: exact windows, each aggregation by its formula, every window scored once."""

import json

import numpy as np
import pytest
from tiny import HashScorer, ListReranker, save_cross_encoder, save_tokenizer, toy_dataset

from evalkit.assembly import connected_rerankers
from evalkit.datasets.folder import FolderDataset
from evalkit.errors import ConfigError
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.rerankers.none import NoReranker
from evalkit.rerankers.passages import PassageReranker, aggregated, cut_windows
from evalkit.rerankers.pointwise import PointwiseReranker
from evalkit.run import Run
from evalkit.types import Doc

DOCS = {
    "short": ("search", "index merge"),
    "long": ("重排", "search index merge shard token vector cache latency recall precision"),
    "chinese": ("", "检索 重排缓存 分词 向量索 😀 重排 缓存检索分词 向量 索存。"),
    "empty": ("", ""),
    "twice": ("", "search index search index search index search index"),
    "huge": ("branch", "token cache " * 900),
}
QUERIES = {"q0": "rerank score", "q1": "检索"}


class KnownScorer(HashScorer):
    """Scores a pair by its texts' digest, and knows a tokenizer and which pairs are too long."""

    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def truncated(self, pairs):
        return np.array([len(doc) > 60 for _, doc in pairs], dtype=bool)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "docs"
    (folder / "qrels").mkdir(parents=True)
    docs = [{"_id": d, "title": title, "text": text} for d, (title, text) in DOCS.items()]
    queries = [{"_id": q, "text": text} for q, text in QUERIES.items()]
    for name, rows in (("corpus", docs), ("queries", queries)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    qrels = "".join(f"{q}\tlong\t1\n" for q in QUERIES)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    return FolderDataset(folder)


def every_pair(dataset):
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    return Run.from_dict({q.query_id: dict.fromkeys(docs, 0.0) for q in dataset.queries})


def connected(dataset, part, **settings):
    passages = PassageReranker("part", **settings)
    connected_rerankers(dataset, {}, {"part": part, "passages": passages})
    return passages


def words(text):
    """The tiny tokenizer's tokens, as parts of the text: words, Chinese characters, signs."""
    pieces = []
    for word in text.split(" "):
        parts = list(word) if any(ord(c) > 127 for c in word) else [word]
        pieces.extend(parts)
    return [piece for piece in pieces if piece]


def test_windows_are_exact_parts_of_the_text(dataset, tokenizer):
    part = PointwiseReranker(KnownScorer(tokenizer), "{text}", cache_dir=dataset.path.parent)
    windows = connected(dataset, part, window=4, stride=3).windows(dataset.docs_iter())
    assert windows["long"] == [
        "search index merge shard", "shard token vector cache", "cache latency recall precision",
    ]  # fmt: skip
    assert windows["chinese"][:3] == ["检索 重排", "排缓存 分", "分词 向量"]
    assert windows["short"] == ["index merge"]
    assert windows["empty"] == [""]
    for doc_id, texts in windows.items():
        text, at = DOCS[doc_id][1], 0
        for window in texts:
            at = text.index(window, at)
        assert text.strip().endswith(texts[-1])
        if len(texts) > 1:
            assert [len(words(window)) for window in texts[:-1]] == [4] * (len(texts) - 1)
            assert 1 < len(words(texts[-1])) <= 4
            assert (words(text)[:1], words(text)[-1:]) == (
                words(texts[0])[:1],
                words(texts[-1])[-1:],
            )


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (3, 1), (4, 2), (4, 4), (7, 5), (10, 9)])
@pytest.mark.parametrize("longer", [1, 2, 3, 5, 8])
def test_windows_cover_every_token_and_none_is_idle(window, stride, longer):
    tokens = window + longer
    text = "".join(chr(ord("a") + i) for i in range(tokens))
    found = cut_windows(text, [(i, i + 1) for i in range(tokens)], window, stride)
    assert found == [text[i : i + window] for i in range(0, stride * len(found), stride)]
    assert found[-1].endswith(text[-1])
    assert all(text[-1] not in each for each in found[:-1])


def test_title_first_puts_the_title_before_windows_of_the_text(dataset, tokenizer, tmp_path):
    part = PointwiseReranker(KnownScorer(tokenizer), "{title}: {text}", cache_dir=tmp_path)
    settings = {"window": 4, "stride": 4}
    titled = connected(dataset, part, title_first=True, **settings).windows(dataset.docs_iter())
    assert titled["long"] == [
        "重排: search index merge shard", "重排: token vector cache latency",
        "重排: recall precision",
    ]  # fmt: skip
    joined = connected(dataset, part, **settings).windows(dataset.docs_iter())
    assert joined["long"][:2] == ["重排: search", "index merge shard token"]
    assert joined["short"] == titled["short"] == ["search: index merge"]


FORMULAS = {
    "first_p": lambda scores: scores[0],
    "max_p": max,
    "sum_p": sum,
    "mean_top": lambda scores: np.mean(sorted(scores)[-2:]),
}


@pytest.mark.parametrize("aggregate", FORMULAS)
def test_a_score_is_the_aggregate_of_the_windows_scores(dataset, tokenizer, tmp_path, aggregate):
    scorer = KnownScorer(tokenizer)
    part = PointwiseReranker(scorer, "{text}", cache_dir=tmp_path)
    settings = {"window": 4, "stride": 3, "aggregate": aggregate, "top_m": 2}
    passages = connected(dataset, part, **settings)
    windows = passages.windows(dataset.docs_iter())
    found = passages.rerank(dataset.queries, dataset, every_pair(dataset))
    for query in dataset.queries:
        for doc_id, score in found[query.query_id]:
            pairs = [(query.text, window) for window in windows[doc_id]]
            expected = FORMULAS[aggregate](HashScorer().score(pairs).astype(np.float64))
            assert score == pytest.approx(expected, rel=1e-6), doc_id
    read = [window for texts in windows.values() for window in texts]
    if aggregate == "first_p":
        read = [texts[0] for texts in windows.values()]
    assert len(scorer.asked) == len(set(scorer.asked)) == len(set(read)) * len(QUERIES)


def test_aggregates_by_hand():
    scores = np.array([1.0, -2.0, 3.0, -5.0, 4.0, 4.0, 4.0], dtype=np.float32)
    sizes = np.array([3, 1, 3])
    assert aggregated(scores, sizes, "first_p").tolist() == [1.0, -5.0, 4.0]
    assert aggregated(scores, sizes, "max_p").tolist() == [3.0, -5.0, 4.0]
    assert aggregated(scores, sizes, "sum_p").tolist() == [2.0, -5.0, 12.0]
    assert aggregated(scores, sizes, "mean_top", 2).tolist() == [2.0, -5.0, 4.0]
    assert aggregated(scores, sizes, "mean_top", 9).tolist() == pytest.approx([2 / 3, -5.0, 4.0])
    for how in FORMULAS:
        assert aggregated(scores[:0], sizes[:0], how).shape == (0,)
        assert aggregated(scores, sizes, how, 2).dtype == np.float32


class ConstantScorer(KnownScorer):
    fingerprint = "constant"
    value = 2.0

    def score(self, pairs):
        return np.full(len(pairs), self.value, dtype=np.float32)


@pytest.mark.parametrize(("value", "correlation"), [(2.0, 1.0), (-2.0, -1.0)])
def test_what_sum_p_makes_of_length_is_reported(dataset, tokenizer, tmp_path, value, correlation):
    """Every window scores alike: sum_p ranks by length alone, whichever way, and says so."""
    found = {}
    for aggregate in FORMULAS:
        scorer = ConstantScorer(tokenizer)
        scorer.value = value
        part = PointwiseReranker(scorer, "{text}", cache_dir=tmp_path / aggregate)
        passages = connected(dataset, part, window=4, stride=3, aggregate=aggregate)
        ranking = passages.rerank(dataset.queries, dataset, every_pair(dataset))
        found[aggregate] = passages.details["length_correlation"], dict(ranking["q0"])
    sizes = {d: len(w) for d, w in passages.windows(dataset.docs_iter()).items()}
    assert found["sum_p"] == (correlation, {d: value * n for d, n in sizes.items()})
    for aggregate in ("first_p", "max_p", "mean_top"):
        assert found[aggregate] == (0.0, dict.fromkeys(DOCS, value))


def test_details_tell_windows_long_docs_and_what_is_still_cut(dataset, tokenizer, tmp_path):
    part = PointwiseReranker(KnownScorer(tokenizer), "{text}", cache_dir=tmp_path)
    passages = connected(dataset, part, window=16, stride=16)
    passages.rerank(dataset.queries, dataset, every_pair(dataset))
    sizes = {d: len(w) for d, w in passages.windows(dataset.docs_iter()).items()}
    assert sizes == {"short": 1, "long": 1, "chinese": 2, "empty": 1, "twice": 1, "huge": 113}
    details = passages.details
    assert details["windows_a_doc"] == pytest.approx(np.mean(list(sizes.values())), abs=1e-4)
    assert details["several_windows_share"] == pytest.approx(2 / 6, abs=1e-6)
    # The known scorer reads 60 characters: "long" and windows of "huge" have more.
    assert details["truncated_share"] == pytest.approx(2 / 6, abs=1e-6)


def test_every_window_goes_through_the_parts_store(dataset, tokenizer, tmp_path):
    scorer = KnownScorer(tokenizer)
    part = PointwiseReranker(scorer, "{text}", cache_dir=tmp_path)
    candidates = every_pair(dataset)
    part.rerank(dataset.queries, dataset, candidates)
    whole = len(scorer.asked)
    passages = connected(dataset, part, window=4, stride=3)
    before = passages.count(dataset.queries, dataset, candidates)
    passages.rerank(dataset.queries, dataset, candidates)
    # "short" and "empty" are one window, which the part has scored already.
    assert passages.work == before._asdict()
    assert before.reused == 2 * len(QUERIES)
    assert len(scorer.asked) == whole + before.scored
    other = connected(dataset, part, window=4, stride=3, aggregate="sum_p")
    other.rerank(dataset.queries, dataset, candidates)
    assert other.work == {"asked": before.asked, "reused": before.asked, "scored": 0}
    assert passages.for_retriever("bm25") is passages
    assert passages.estimate(candidates.sizes) == {}


@pytest.mark.parametrize("title_first", [False, True])
def test_short_docs_score_as_without_windows(tmp_path, title_first):
    model = save_cross_encoder(tmp_path / "model")
    dataset = toy_dataset(tmp_path / "toy", docs=12, queries=3)
    part = CrossEncoderReranker(str(model), cache_dir=tmp_path)
    passages = connected(dataset, part, window=64, stride=32, title_first=title_first)
    candidates = every_pair(dataset)
    whole = part.rerank(dataset.queries, dataset, candidates)
    found = passages.rerank(dataset.queries, dataset, candidates)
    assert dict(found) == dict(whole)
    assert passages.work["scored"] == 0
    assert passages.details["windows_a_doc"] == 1.0


def test_a_real_model_reads_its_own_tokens(tmp_path):
    """MaxP over a cross-encoder equals the best of its scores of the windows, by its library."""
    from sentence_transformers import CrossEncoder

    model = save_cross_encoder(tmp_path / "model")
    dataset = toy_dataset(tmp_path / "toy", docs=12, queries=3)
    part = CrossEncoderReranker(
        str(model), activation="sigmoid", dtype="float32", cache_dir=tmp_path
    )
    passages = connected(dataset, part, window=6, stride=4)
    found = passages.rerank(dataset.queries, dataset, every_pair(dataset))
    theirs = CrossEncoder(str(model), device="cpu")
    windows = passages.windows(dataset.docs_iter())
    assert max(map(len, windows.values())) > 4
    for query in dataset.queries:
        for doc_id, score in found[query.query_id]:
            pairs = [(query.text, window) for window in windows[doc_id]]
            assert score == pytest.approx(float(theirs.predict(pairs).max()), abs=1e-4)
    assert passages.details["truncated_share"] == 0.0


def test_another_models_tokenizer_may_cut_the_windows(dataset, tmp_path, tokenizer):
    model = save_cross_encoder(tmp_path / "model")
    part = PointwiseReranker(HashScorer(), cache_dir=tmp_path)
    passages = connected(dataset, part, window=4, stride=3, tokenizer=str(model))
    known = PointwiseReranker(KnownScorer(tokenizer), cache_dir=tmp_path)
    expected = connected(dataset, known, window=4, stride=3)
    assert passages.windows(dataset.docs_iter()) == expected.windows(dataset.docs_iter())
    passages.rerank(dataset.queries, dataset, every_pair(dataset))
    assert "truncated_share" not in passages.details
    with pytest.raises(ConfigError, match=r"no tokenizer .* reranker\.passages\.tokenizer="):
        connected(dataset, part)


def test_bytes_of_one_character_stay_together(dataset, tmp_path):
    """Byte-level tokens can split a character; a window holds characters whole."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    scorer = KnownScorer(PreTrainedTokenizerFast(tokenizer_object=made))
    part = PointwiseReranker(scorer, "{text}", cache_dir=tmp_path)
    passages = connected(dataset, part, window=4, stride=4)
    (windows,) = passages.windows([Doc("d", "", "检索😀a")]).values()
    assert windows == ["检索", "索😀", "😀a"]


def test_nothing_is_reranked_to_nothing(dataset, tokenizer, tmp_path):
    passages = connected(dataset, PointwiseReranker(KnownScorer(tokenizer), cache_dir=tmp_path))
    nothing = Run.from_dict({}, [q.query_id for q in dataset.queries])
    assert len(passages.rerank(dataset.queries, dataset, nothing)) == 0
    assert passages.depends_on_list is False


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aggregate": "mean"}, "expected one of first_p, max_p, sum_p, mean_top"),
        ({"window": 0, "stride": 0}, "expected 1 ≤ stride ≤ window"),
        ({"window": 10, "stride": 11}, "is never read"),
        ({"top_m": 0}, "top_m=0"),
    ],
)
def test_bad_settings_are_refused_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        PassageReranker(**settings)


def test_the_part_must_be_selected_and_score_pairs(dataset):
    def connect(**others):
        connected_rerankers(dataset, {}, {**others, "passages": PassageReranker("part")})

    with pytest.raises(ConfigError, match=r"'part', which is not .* reranker=\[…,part\]"):
        connect(none=NoReranker())
    with pytest.raises(ConfigError, match=r"'part' does not score pairs .* reranker=\[cross_enc"):
        connect(part=ListReranker())
    with pytest.raises(ConfigError, match="'passages' does not score pairs"):
        connected_rerankers(dataset, {}, {"passages": PassageReranker("passages")})


def test_what_changes_a_score_changes_the_fingerprint(dataset, tokenizer, tmp_path):
    model = save_cross_encoder(tmp_path / "model")

    def of(template="{text}", **settings):
        part = PointwiseReranker(KnownScorer(tokenizer), template, cache_dir=tmp_path)
        return connected(dataset, part, **settings).fingerprint

    different = [
        {}, {"window": 300}, {"stride": 100}, {"aggregate": "sum_p"}, {"aggregate": "mean_top"},
        {"aggregate": "mean_top", "top_m": 4}, {"title_first": True}, {"template": "{title}"},
        {"tokenizer": str(model)},
    ]  # fmt: skip
    assert len({of(**settings) for settings in different}) == len(different)
    assert of(top_m=7) == of()
