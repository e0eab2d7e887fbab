"""Tokenizers of the three kinds, trained here on small text, with the templates of real models."""

from __future__ import annotations

import random

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

ENGLISH = (
    "the index is merged when a shard is full, and rollback restores the previous schema. "
    "Recall@10 falls by 3.5% if tokens are dropped! don't re-rank naïve café queries twice; "
)
CHINESE = "缓存命中时不再计算分词结果，索引合并在后台进行。检索与重排的延迟取决于候选数量！"
ODD = (
    "🚀 deploy 🙂 👩‍💻 👍🏽 ﬁ ½ \u200b \u00a0 ＡＢＣ [SEP] </s> <pad> [PAD] \t\n İ ß 한국어 العربية"
)
# start, between, end; the type of the doc's tokens; and the special tokens.
BERT = ("[CLS]", "[SEP]", "[SEP]", 1)
ROBERTA = ("<s>", "</s> </s>", "</s>", 0)
MODERNBERT = ("[CLS]", "[SEP]", "[SEP]", 0)


def _trained(model, trainer_class, normalizer, splitter, decoder, template, pad, **settings):
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoder
    start, middle, end, kind = template
    special = list(dict.fromkeys([pad, "[UNK]", start, *middle.split(), end]))
    trainer = trainer_class(vocab_size=600, special_tokens=special, show_progress=False, **settings)
    generator = random.Random(0)
    lines = [text for text in (ENGLISH, CHINESE) for _ in range(20)]
    tokenizer.train_from_iterator([*lines, *random_texts(generator, 200)], trainer)
    ids = {token: tokenizer.token_to_id(token) for token in special}
    between = " ".join(f"{token}:0" for token in middle.split())
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start}:0 $A:0 {between} $B:{kind} {end}:{kind}",
        special_tokens=[(token, ids[token]) for token in special],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, cls_token=start, sep_token=end,
        unk_token="[UNK]", model_input_names=_inputs(kind),
    )  # fmt: skip


def _inputs(kind: int) -> list[str]:
    types = ["token_type_ids"] if kind else []
    return ["input_ids", *types, "attention_mask"]


def wordpiece():
    """As BERT's: lower case, [CLS] a [SEP] b [SEP] with token types."""
    return _trained(
        models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer,
        normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(),
        BERT, "[PAD]",
    )  # fmt: skip


def sentencepiece():
    """As XLM-R's: Unigram over ▁words, <s> a </s></s> b </s>."""
    return _trained(
        models.Unigram(), trainers.UnigramTrainer, normalizers.NFKC(), pre_tokenizers.Metaspace(),
        decoders.Metaspace(), ROBERTA, "<pad>", unk_token="[UNK]",
    )  # fmt: skip


def byte_bpe():
    """As ModernBERT's: byte-level BPE, [CLS] a [SEP] b [SEP] without token types."""
    return _trained(
        models.BPE(), trainers.BpeTrainer, normalizers.NFC(),
        pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel(), MODERNBERT, "[PAD]",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip


TOKENIZERS = {"wordpiece": wordpiece, "sentencepiece": sentencepiece, "byte-bpe": byte_bpe}


def random_texts(generator: random.Random, count: int) -> list[str]:
    """Texts of very different lengths, in pieces of English, Chinese and odd characters."""
    sources = [ENGLISH, CHINESE, ODD]

    def piece() -> str:
        source = generator.choice(sources)
        start = generator.randrange(len(source))
        return source[start : start + generator.randrange(1, 40)]

    sizes = [0, 1, 1, 2, 3, 5, 8, 20, 60]
    return [" ".join(piece() for _ in range(generator.choice(sizes))) for _ in range(count)]
