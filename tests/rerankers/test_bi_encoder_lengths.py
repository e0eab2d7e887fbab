"""Which texts a bi-encoder cuts, against its own tokenizer; no weights are loaded to tell."""

import json

import numpy as np
import pytest
from tiny import save_bi_encoder, toy_dataset

from evalkit.encoders import TextEncoder
from evalkit.rerankers.bi_encoder import BiEncoderReranker, BiEncoderScorer
from evalkit.run import Run

LENGTHS = (0, 1, 6, 7, 28, 29, 30, 31, 61, 62, 63, 200)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made = {
        "bi": save_bi_encoder(folder / "bi"),
        "prompted": save_bi_encoder(folder / "prompted", query="query ", document="index token "),
    }
    made["plain"] = folder / "bi-plain"
    return {name: str(path) for name, path in made.items()}


def expected(model, texts, side, prompt=None, max_length=None):
    """What the loaded model's own tokenizer makes of prompt and text, and its own limit."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(model, device="cpu")
    if prompt is None:
        prompt = theirs.prompts["query" if side == "query" else "document"] or ""
    longest = max_length or theirs.max_seq_length
    ids = theirs.tokenizer([prompt + text for text in texts], truncation=False)["input_ids"]
    return [len(each) > longest for each in ids]


@pytest.mark.parametrize("name", ["bi", "prompted", "plain"])
@pytest.mark.parametrize("side", ["query", "doc"])
@pytest.mark.parametrize(
    "settings", [{}, {"max_length": 9}, {"query_prompt": "", "doc_prompt": "a b "}]
)
def test_texts_are_cut_where_the_model_itself_cuts_them(models, name, side, settings):
    texts = ["缓存 " * n for n in LENGTHS]
    encoder = TextEncoder(models[name], **settings)
    prompt = settings.get(f"{side}_prompt")
    ours = encoder.truncated(texts, side)
    assert ours.tolist() == expected(models[name], texts, side, prompt, settings.get("max_length"))
    assert ours.any()
    assert not ours.all()
    assert "_model" not in vars(encoder)


def test_the_longest_input_of_the_settings_file_counts(models, tmp_path):
    folder = save_bi_encoder(tmp_path / "bi")
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps({"max_seq_length": 12, "do_lower_case": True}))
    texts = ["search " * n for n in range(20)]
    ours = TextEncoder(str(folder)).truncated(texts, "doc")
    assert ours.tolist() == expected(str(folder), texts, "doc") == [n > 10 for n in range(20)]


def test_a_model_of_static_vectors_cuts_nothing(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "search": 1}, unk_token="[UNK]"))
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    model.save(str(tmp_path / "static"))
    encoder = TextEncoder(str(tmp_path / "static"))
    assert encoder.truncated(["search " * 10_000, ""], "doc").tolist() == [False, False]


def test_the_share_of_pairs_that_lose_text_is_told(models, tmp_path):
    scorer = BiEncoderScorer(TextEncoder(models["bi"], cache_dir=tmp_path))
    long, short = "a " * 31, "a " * 30
    pairs = [(short, short), (long, short), (short, long), (long, long)]
    assert scorer.truncated(pairs).tolist() == [False, True, True, True]
    assert scorer.truncated([]).shape == (0,)

    dataset = toy_dataset(tmp_path / "toy")
    docs = list(dataset.docs_iter())
    given = Run.from_dict({q.query_id: {d.doc_id: 0.0 for d in docs} for q in dataset.queries})
    reranker = BiEncoderReranker(models["bi"], max_length=20, cache_dir=tmp_path)
    reranker.rerank(dataset.queries, dataset, given)
    share = np.mean(expected(models["bi"], [d.render() for d in docs], "doc", max_length=20))
    assert reranker.details["truncated_share"] == pytest.approx(share, abs=1e-6)
    assert 0 < share < 1
