"""The docs to write queries for: a folder of texts, a corpus in BEIR layout, a dataset's docs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.datasets.collection import counted
from evalkit.datasets.corpus import CorpusFile
from evalkit.datasets.folder import find_file
from evalkit.datasets.text_files import read_text_files
from evalkit.errors import ConfigError, DataError
from evalkit.llm.prompts import shortened, word_count
from evalkit.synthesis.passages import passages
from evalkit.types import Dataset, Doc


@dataclass(frozen=True)
class Source:
    """docs: iterates over all docs anew at each call. about: counts for synthetic.json."""

    name: str
    docs: Callable[[], Iterable[Doc]]
    about: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """What was found, for the terminal."""
        found = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in self.about.items())
        return f"docs of {self.name}" + (f": {found}" if found else "")


def read_source(path: Path, passage_words: int) -> Source:
    """A folder of .txt and .md files, cut into passages; a folder with a corpus.jsonl, or that
    file, whose docs stay as they are."""
    if path.is_file() and path.name.removesuffix(".gz").endswith(".jsonl"):
        return Source(path.resolve().parent.name, CorpusFile(path).docs_iter)
    if not path.is_dir():
        what = "expected a folder, or a corpus.jsonl" if path.exists() else "no such folder or file"
        raise DataError(f"{path}: {what}; give path=FOLDER with .txt and .md files in it")
    name = path.resolve().name
    if any((path / f"corpus.jsonl{suffix}").is_file() for suffix in ("", ".gz")):
        return Source(name, CorpusFile(find_file(path, "corpus.jsonl")).docs_iter)
    if passage_words < 1:
        raise ConfigError(f"passage_words={passage_words}: expected at least 1")
    files = read_text_files(path)
    cut = [passage for doc in files.docs for passage in passages(doc, passage_words)]
    about: dict[str, Any] = {"files": len(files.docs), "passages": len(cut)}
    about |= {"empty_files_left_out": files.empty} if files.empty else {}
    about |= {"other_files_left_out": files.others} if files.others else {}
    return Source(name, lambda: cut, about)


def dataset_source(dataset: Dataset) -> Source:
    """The docs of a dataset, whatever queries it has."""
    if not dataset.has_texts:
        raise ConfigError(f"{dataset.dataset_id} has no texts to write queries for; give path=DIR")
    return Source(dataset.dataset_id, dataset.docs_iter)


@dataclass(frozen=True)
class Sample:
    """docs: those to write queries for. num_docs: in all. too_short: passed over. longest: words
    of the longest doc, cut to doc_words."""

    docs: list[Doc]
    num_docs: int
    too_short: int
    longest: int


def sampled(
    source: Source, num_docs: int | None, seed: int, least_words: int, doc_words: int | None
) -> Sample:
    """`num_docs` docs (None: all) of at least `least_words` words, drawn at random by `seed`."""
    fitting: list[int] = []
    total = longest = 0
    for at, doc in enumerate(source.docs()):
        total += 1
        words = word_count(shortened(doc.render(), doc_words))
        longest = max(longest, words)
        if words >= least_words:
            fitting.append(at)
    if not fitting:
        raise DataError(
            f"{source.name}: none of {counted(total, 'doc')} has least_words={least_words} words; "
            "set it lower"
        )
    drawn = np.random.default_rng(seed).permutation(len(fitting))[:num_docs]
    order = {fitting[place]: rank for rank, place in enumerate(drawn.tolist())}
    docs = sorted(_chosen(source.docs(), order), key=lambda found: found[0])
    return Sample([doc for _, doc in docs], total, total - len(fitting), longest)


def _chosen(docs: Iterable[Doc], order: dict[int, int]) -> Iterator[tuple[int, Doc]]:
    for at, doc in enumerate(docs):
        if at in order:
            yield order[at], doc
