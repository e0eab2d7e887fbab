"""What training data and an evaluation have in common: queries, docs, and relevant pairs of them.

A model that was trained on a test query knows its answer; its figures are then no evidence. That a
doc occurs in both is normal where train and test queries are asked of one corpus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

from evalkit.errors import ConfigError
from evalkit.progress import track
from evalkit.similarities import wording
from evalkit.training.data import TrainingData
from evalkit.training.leak_report import DocOverlap, LeakReport, Match, PairMatch
from evalkit.training.near_duplicates import NearDuplicates
from evalkit.training.passages import passages_of
from evalkit.types import DOC_TEMPLATE, Dataset, Doc, grades_of

# In a larger corpus near-duplicates are looked for among the relevant docs only: at about a
# millisecond a doc, millions would take hours.
_LARGE_CORPUS = 200_000
_DOCS = 1024
_EXAMPLES = 5


def find_leaks(training: TrainingData, evaluation: Dataset) -> LeakReport:
    """What of `evaluation` is in the training data, exactly or nearly.

    Exactly: the same words in the same order, whatever the case, signs, spaces and Unicode form
    (see `similarities.words`). Nearly: see `near_duplicates`. Docs are compared as the training
    data holds them, in windows if it was mined in windows.
    """
    if not evaluation.has_texts:
        raise ConfigError(
            f"{evaluation.dataset_id} has no texts, so training data cannot be checked against it; "
            "use dataset=folder or dataset=ir_datasets"
        )
    matches = _query_matches(training, evaluation)
    best = [found[0] for found in matches.values()]
    same = [match.training_id for found in matches.values() for match in found if match.exact]
    relevant = _relevant(evaluation)
    docs = _DocMatches(training, evaluation, {d for ids in relevant.values() for d in ids})
    return LeakReport(
        evaluation=evaluation.dataset_id,
        training_queries=len(training.queries),
        evaluation_queries=len(evaluation.queries),
        exact_queries=tuple(match for match in best if match.exact),
        near_queries=tuple(match for match in best if not match.exact),
        training_query_ids=tuple(dict.fromkeys(same)),
        docs=docs.overlap(),
        pairs=tuple(docs.pairs(relevant, matches)),
    )


def _relevant(evaluation: Dataset) -> dict[str, list[str]]:
    """query_id → its relevant docs."""
    level = evaluation.relevance_level
    return {
        query_id: [doc_id for doc_id, grade in docs.items() if grade >= level]
        for query_id, docs in grades_of(evaluation.qrels).items()
    }


def _query_matches(training: TrainingData, evaluation: Dataset) -> dict[str, list[Match]]:
    """query_id of the evaluation → its matches in training, exact and then similar ones first;
    queries without any are left out."""
    evaluated, trained = evaluation.queries, training.queries
    same: dict[bytes, list[int]] = defaultdict(list)
    for position, query in enumerate(evaluated):
        same[wording(query.text)].append(position)
    found: dict[int, list[Match]] = defaultdict(list)
    # The evaluated queries are indexed, which are mostly the fewer: an index entry takes 5 kB.
    near = NearDuplicates([query.text for query in evaluated])
    repeats = near.find([query.text for query in trained])
    for query, alike in zip(track(trained, "Comparing queries"), repeats, strict=True):
        exact = same.get(wording(query.text), [])
        similar = dict.fromkeys(exact, 1.0) | {
            position: similarity for position, similarity in alike if position not in exact
        }
        for position, similarity in similar.items():
            theirs = evaluated[position]
            found[position].append(
                Match(
                    theirs.query_id, query.query_id, theirs.text, query.text, similarity,
                    position in exact,
                )
            )  # fmt: skip
    return {
        evaluated[position].query_id: sorted(
            found[position], key=lambda match: (not match.exact, -match.similarity)
        )
        for position in sorted(found)
    }


class _DocMatches:
    """The docs of an evaluation against the distinct texts in training.

    texts, doc_ids: of the distinct ones, in the order of the rows. positives: (query_id, number of
    a text) of the positive rows. matched: of each relevant doc, the numbers of the texts in
    training that it repeats.
    """

    def __init__(self, training: TrainingData, evaluation: Dataset, relevant: set[str]) -> None:
        self.evaluation, self.relevant = evaluation, relevant
        self.texts: list[str] = []
        self.doc_ids: list[str] = []
        self.positives: set[tuple[str, int]] = set()
        self.matched: dict[str, set[int]] = {}
        self._numbers: dict[bytes, int] = {}
        known: dict[str, int] = {}
        columns = (training.query_id, training.doc_id, training.doc, training.role)
        for query_id, doc_id, text, role in zip(*(c.tolist() for c in columns), strict=True):
            if text not in known:
                known[text] = self._numbers.setdefault(wording(text), len(self.texts))
                if known[text] == len(self.texts):
                    self.texts.append(text)
                    self.doc_ids.append(doc_id)
            if role == "positive":
                self.positives.add((query_id, known[text]))
        settings = training.origin.get("settings", {})
        self._template = settings.get("doc_template", DOC_TEMPLATE)
        windows = settings.get("passages") == "windows"
        self._words = settings["passage_words"] if windows else None

    def overlap(self) -> DocOverlap:
        """Compare every doc; fills `matched`."""
        near = NearDuplicates(self.texts)
        among = "all" if self.evaluation.num_docs <= _LARGE_CORPUS else "relevant"
        found = {"exact": 0, "near": 0, "relevant_exact": 0, "relevant_near": 0}
        examples: list[Match] = []
        relevant = relevant_positive = 0
        trained = {number for _, number in self.positives}
        docs = track(self.evaluation.docs_iter(), "Comparing docs", self.evaluation.num_docs)
        for doc, matches in self._matches(docs, near, among):
            relevant += doc.doc_id in self.relevant
            if not matches:
                continue
            kind = "exact" if matches[0][1].exact else "near"
            found[kind] += 1
            examples += [] if len(examples) >= _EXAMPLES else [matches[0][1]]
            if doc.doc_id in self.relevant:
                numbers = {number for number, _ in matches}
                self.matched[doc.doc_id] = numbers
                found[f"relevant_{kind}"] += 1
                relevant_positive += bool(numbers & trained)
        return DocOverlap(
            docs=self.evaluation.num_docs,
            relevant=relevant,
            relevant_positive=relevant_positive,
            near_among=among,
            examples=tuple(examples),
            **found,
        )

    def pairs(
        self, relevant: dict[str, list[str]], queries: dict[str, list[Match]]
    ) -> Iterator[PairMatch]:
        """The evaluation's relevant pairs that are positives in training; after `overlap`."""
        for query_id, matches in queries.items():
            for doc_id in relevant.get(query_id, ()):
                numbers = sorted(self.matched.get(doc_id, ()))
                hits = ((m, n) for m in matches for n in numbers)
                for match, number in hits:
                    if (match.training_id, number) in self.positives:
                        theirs = match.training_id, self.doc_ids[number]
                        yield PairMatch(query_id, doc_id, *theirs)
                        break

    def _matches(
        self, docs: Iterable[Doc], near: NearDuplicates, among: str
    ) -> Iterator[tuple[Doc, list[tuple[int, Match]]]]:
        """Each doc and the texts that it repeats: all exact ones, else all near ones."""
        rest = iter(docs)
        while batch := list(islice(rest, _DOCS)):
            passages = [passages_of(doc, self._template, self._words) for doc in batch]
            exact = [
                {self._numbers[key]: 1.0 for key in map(wording, texts) if key in self._numbers}
                for texts in passages
            ]
            compared = [
                i
                for i, doc in enumerate(batch)
                if not exact[i] and (among == "all" or doc.doc_id in self.relevant)
            ]
            repeats = near.find([text for i in compared for text in passages[i]])
            alike = {
                i: {r.position: r.similarity for _ in passages[i] for r in next(repeats)}
                for i in compared
            }
            for i, doc in enumerate(batch):
                found = exact[i] or alike.get(i, {})
                yield doc, [(n, self._match(doc, n, s, bool(exact[i]))) for n, s in found.items()]

    def _match(self, doc: Doc, number: int, similarity: float, exact: bool) -> Match:
        text = doc.render(self._template)
        theirs = self.doc_ids[number], text, self.texts[number], similarity, exact
        return Match(doc.doc_id, *theirs)
