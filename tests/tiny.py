"""Tiny models, built and saved here, loaded by the real library classes; and a toy dataset."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from evalkit.datasets.folder import FolderDataset

WORDS = [
    "search", "index", "query", "rerank", "score", "token", "vector", "cache", "shard", "merge",
    "latency", "recall", "precision", "branch", "deploy", "rollback", "schema", "retry", "limit",
    "memory", "检", "索", "重", "排", "缓", "存", "分", "词", "向", "量",
]  # fmt: skip


def save_tokenizer(folder: Path) -> int:
    """A WordPiece tokenizer over a small vocabulary; returns the vocabulary's size."""
    from transformers import BertTokenizer

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *WORDS, *letters, *(f"##{x}" for x in letters), *"0123456789.,"]
    folder.mkdir(parents=True, exist_ok=True)
    vocab_file = folder / "vocab.txt"
    vocab_file.write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizer(str(vocab_file), model_max_length=64).save_pretrained(folder)
    return len(vocabulary)


def _config(size: int, **extra):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.4,  # large, so that random scores differ well beyond rounding
        **extra,
    )


def save_cross_encoder(folder: Path, num_labels: int = 1, nan: bool = False) -> Path:
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    model = BertForSequenceClassification(_config(save_tokenizer(folder), num_labels=num_labels))
    if nan:
        torch.nn.init.constant_(model.classifier.weight, float("nan"))
    model.save_pretrained(folder)
    return folder


def save_bi_encoder(
    folder: Path, similarity: str = "cosine", seed: int = 0, **prompts: str
) -> Path:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as modules
    from transformers import BertModel

    torch.manual_seed(0)
    plain = folder.parent / f"{folder.name}-plain"
    BertModel(_config(save_tokenizer(plain))).save_pretrained(plain)
    transformer = modules.Transformer(str(plain), max_seq_length=32)
    pooling = modules.Pooling(32)
    SentenceTransformer(
        modules=[transformer, pooling],
        similarity_fn_name=similarity,
        prompts=prompts or None,
        device="cpu",
    ).save(str(folder))
    return folder


def write_collection(folder: Path, docs: int = 40, queries: int = 8, seed: int = 0) -> Path:
    """A random BEIR folder over WORDS, with graded qrels."""
    generator = np.random.default_rng(seed)

    def text(low: int, high: int) -> str:
        return " ".join(generator.choice(WORDS, size=int(generator.integers(low, high))))

    (folder / "qrels").mkdir(parents=True)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        for i in range(docs):
            doc = {"_id": f"d{i}", "title": text(1, 4), "text": text(5, 40)}
            file.write(json.dumps(doc, ensure_ascii=False) + "\n")
    with open(folder / "queries.jsonl", "w", encoding="utf-8") as file:
        for i in range(queries):
            file.write(json.dumps({"_id": f"q{i}", "text": text(2, 5)}, ensure_ascii=False) + "\n")
    with open(folder / "qrels" / "test.tsv", "w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for i in range(queries):
            for doc in generator.choice(docs, size=6, replace=False):
                file.write(f"q{i}\td{doc}\t{generator.integers(0, 4)}\n")
    return folder


def toy_dataset(folder: Path, **settings) -> FolderDataset:
    return FolderDataset(write_collection(folder, **settings))


class HashScorer:
    """A PairScorer whose score is a digest of the two texts; counts what it is asked."""

    fingerprint = "hash-scorer"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def score(self, pairs):
        self.asked.extend(pairs)
        digests = [hashlib.sha256(f"{q}\0{d}".encode()).digest() for q, d in pairs]
        return np.array([int.from_bytes(x[:3], "big") for x in digests], dtype=np.float32)


class ListReranker:
    """Depends on the list: a doc's score is its rank among the candidates, reversed."""

    depends_on_list = True
    fingerprint = "list-reranker"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def rerank(self, queries, dataset, candidates):
        self.sizes.append(len(candidates))
        return candidates.with_scores(candidates.ranks.astype(np.float32))


def save_sentencepiece(path: Path, **options) -> int:
    """A SentencePiece vocabulary over WORDS and the words of prompts; returns its size."""
    import io

    import sentencepiece

    prompts = ["query:", "document:", "Query:", "Document:", "Relevant:"]
    words = [*WORDS, *prompts, "true", "false", "yes", "no"]
    generator = np.random.default_rng(0)
    lines = [" ".join(generator.choice(words, size=12)) for _ in range(300)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=150, minloglevel=2,
        hard_vocab_limit=False, **options,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).vocab_size()


def save_mono_t5(folder: Path, nan: bool = False) -> Path:
    """A T5 with the files that castorini's models have: spiece.model and no tokenizer.json."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    size = save_sentencepiece(folder / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=size, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
            decoder_start_token_id=0, initializer_factor=1.0,
        )
    )  # fmt: skip
    if nan:
        torch.nn.init.constant_(model.encoder.final_layer_norm.weight, float("nan"))
    model.save_pretrained(folder)
    return folder


def save_llama(
    folder: Path, num_labels: int | None = 1, seed: int = 0, width: int = 32, nan: bool = False
) -> Path:
    """A Llama with a classification head, or, with num_labels=None, one that writes text."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    size = save_sentencepiece(folder / "tokenizer.model", model_type="bpe")
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = LlamaConfig(
        vocab_size=size, hidden_size=width, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, initializer_range=0.2, num_labels=num_labels or 2,
    )  # fmt: skip
    torch.manual_seed(seed)
    kind = LlamaForCausalLM if num_labels is None else LlamaForSequenceClassification
    model = kind(config)
    if nan:
        torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    model.save_pretrained(folder)
    return folder


def save_adapter(folder: Path, base: Path, seed: int = 0, **settings):
    """A LoRA adapter with a head over the model in `base`, as peft saves it; returns peft's model.

    B matrices are random rather than peft's zeros, as if it were trained.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(str(base), num_labels=1)
    settings = {"task_type": "SEQ_CLS", "r": 4, "lora_alpha": 8, **settings}
    adapted = get_peft_model(model, LoraConfig(**settings))
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.2)
    adapted.save_pretrained(str(folder))
    return adapted.eval()


class OracleModel:
    """A LanguageModel that answers by a rule on a prompt's last message; keeps what it is asked."""

    fingerprint = "oracle-model"

    def __init__(self, rule) -> None:
        self.rule, self.asked = rule, []

    @property
    def work(self):
        return {"requests": len(self.asked)}

    def check(self) -> None:
        pass

    def generate(self, prompts, max_tokens):
        self.asked.extend(prompts)
        return [self.rule(prompt[-1]["content"]) for prompt in prompts]

    def choose(self, prompts, options):
        answers = self.generate(prompts, 1)
        return np.array([[float(a == o) for o in options] for a in answers], dtype=np.float32)


def save_splade(folder: Path, nan: bool = False) -> Path:
    """A masked language model as transformers saves it: SPLADE's own layout on the hub."""
    import torch
    from transformers import BertForMaskedLM

    torch.manual_seed(0)
    model = BertForMaskedLM(_config(save_tokenizer(folder)))
    # Below zero on average, so that ReLU leaves few terms, others in each text.
    torch.nn.init.constant_(model.cls.predictions.bias, float("nan") if nan else -3.0)
    model.save_pretrained(folder)
    return folder


def save_colbert(folder: Path) -> Path:
    """A small ColBERT as sentence-transformers saves it: marks, a projection, query expansion to 8
    tokens, docs of at most 24, commas and full stops left out."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from transformers import BertModel

    torch.manual_seed(0)
    plain = folder.parent / f"{folder.name}-plain"
    BertModel(_config(save_tokenizer(plain))).save_pretrained(plain)
    expansion = {"strategy": "fixed", "length": 8}
    modules = [
        Transformer(str(plain), document_length=24, query_expansion=expansion),
        Dense(32, 16, bias=False, activation_function=None, module_input_name="token_embeddings"),
        MultiVectorMask(skiplist_words=[",", "."]),
        Normalize(module_input_name="token_embeddings"),
    ]
    prompts = {"query": "query ", "document": "index "}
    MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu").save(str(folder))
    return folder


CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)


def save_language_model(folder: Path, template: str | None = CHAT_TEMPLATE, **config) -> Path:
    """A random Llama over bytes: every text has tokens, none is unknown."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *alphabet, "ab"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=template
    ).save_pretrained(folder)
    settings = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 4096, "initializer_range": 0.4,
        "vocab_size": len(vocabulary), "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**settings | config)).save_pretrained(folder)
    return folder
