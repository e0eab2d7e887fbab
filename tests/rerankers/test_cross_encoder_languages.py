"""A cross-encoder that leaves the queries of other languages as the first stage ranked them."""

from itertools import count

import pytest
from tiny import save_cross_encoder

from evalkit.errors import ConfigError
from evalkit.rerankers.cross_encoder import CrossEncoderReranker
from evalkit.run import Run
from evalkit.testing import TextDataset, check_reranker
from evalkit.types import Query, for_retriever

ENGLISH, CHINESE = Query("en", "when is a shard merged"), Query("zh", "分片什么时候合并")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_cross_encoder(tmp_path_factory.mktemp("models") / "cross"))


@pytest.fixture
def dataset():
    return TextDataset(queries=[ENGLISH, CHINESE])


@pytest.fixture
def candidates(dataset):
    docs = [doc.doc_id for doc in dataset.docs_iter()]
    ranked = {doc_id: float(-i) for i, doc_id in enumerate(docs)}
    return Run.from_dict({"zh": ranked, "en": ranked})


def test_others_keep_their_order_and_the_rest_is_reranked(model, dataset, candidates, tmp_path):
    everything = CrossEncoderReranker(model, cache_dir=tmp_path)
    english = CrossEncoderReranker(model, cache_dir=tmp_path, languages=["en"])
    whole = everything.rerank(dataset.queries, dataset, candidates)
    found = english.rerank(dataset.queries, dataset, candidates)
    assert found["zh"] == candidates["zh"]
    assert found["en"] == whole["en"]
    assert [d for d, _ in found["en"]] != [d for d, _ in candidates["en"]]
    assert whole["zh"] != candidates["zh"]
    assert english.details["queries_left_out_share"] == 0.5
    assert english.work["scored"] == 0  # the store had the English pairs
    assert english.fingerprint != everything.fingerprint
    assert (english.depends_on_list, everything.depends_on_list) == (True, False)


def test_what_is_told_is_by_retriever_and_of_the_largest_k(model, dataset, candidates, tmp_path):
    english = CrossEncoderReranker(model, cache_dir=tmp_path, languages=["en"])
    fitted = for_retriever(english, "bm25")
    for k in (5, 2):
        fitted.rerank(dataset.queries, dataset, candidates.top(k))
        if k == 5:
            told = dict(fitted.details)
    assert english.details == {"bm25": told}
    assert set(told) == {"queries_left_out_share", "truncated_share"}
    plain = CrossEncoderReranker(model, cache_dir=tmp_path)
    assert for_retriever(plain, "bm25") is plain


def test_it_conforms(model, tmp_path):
    caches = (tmp_path / str(i) for i in count())
    check_reranker(lambda: CrossEncoderReranker(model, cache_dir=next(caches), languages=["zh"]))


@pytest.mark.parametrize("languages", [[], ["fr"], ["auto"]])
def test_a_language_that_cannot_be_told_is_refused(model, languages):
    with pytest.raises(ConfigError, match="expected some of en, zh"):
        CrossEncoderReranker(model, languages=languages)
