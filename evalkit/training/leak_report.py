"""What the leak check found, in numbers and examples; and the refusal to go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.errors import DataError

_EXAMPLES = 5
# Of a text in a message or an example: enough to recognise it by.
_SHOWN = 120


class Match(NamedTuple):
    """A query or doc of the evaluation and the one in training that says the same.

    similarity: Jaccard coefficient of their shingles, 1 for an exact match.
    """

    evaluation_id: str
    training_id: str
    text: str
    training_text: str
    similarity: float
    exact: bool


class PairMatch(NamedTuple):
    """A relevant pair of the evaluation that is a positive in training, exactly or nearly."""

    query_id: str
    doc_id: str
    training_query_id: str
    training_doc_id: str


@dataclass(frozen=True)
class DocOverlap:
    """Docs of the evaluation's corpus that occur in training.

    docs, relevant: how many the corpus holds, and how many of them are relevant to an evaluated
    query. exact, near: of the docs; relevant_exact, relevant_near: of the relevant ones.
    relevant_positive: of the relevant ones, those that are a positive of a training query.
    near_among: the docs that were compared for near-duplicates: "all" or "relevant".
    """

    docs: int
    exact: int
    near: int
    relevant: int
    relevant_exact: int
    relevant_near: int
    relevant_positive: int
    near_among: str
    examples: tuple[Match, ...]


@dataclass(frozen=True)
class LeakReport:
    """The overlap of training data and an evaluation.

    exact_queries, near_queries: the evaluated queries that occur in training, in their order, each
    with the most similar training query. training_query_ids: all training queries that are exactly
    an evaluated one; `TrainingData.without_queries` leaves them out.
    """

    evaluation: str
    training_queries: int
    evaluation_queries: int
    exact_queries: tuple[Match, ...]
    near_queries: tuple[Match, ...]
    training_query_ids: tuple[str, ...]
    docs: DocOverlap
    pairs: tuple[PairMatch, ...]

    def require(self, allow_queries: bool) -> None:
        """DataError if an evaluated query is in training, unless that is allowed on purpose.

        Near-duplicates and docs in common are no error: look at them in the report.
        """
        if self.exact_queries and not allow_queries:
            first = self.exact_queries[0]
            raise DataError(
                f"{len(self.exact_queries)} of the {self.evaluation_queries} queries of "
                f"{self.evaluation} are in the training data, e.g. '{first.evaluation_id}' "
                f"({_shown(first.text)}) as '{first.training_id}'; a model trained on them cannot "
                "be measured by them: take them out with training.test_queries=drop, or allow it "
                "on purpose with training.test_queries=allow"
            )

    def as_dict(self) -> dict[str, Any]:
        """JSON data: all counts, and some examples of each kind."""
        docs = {key: value for key, value in vars(self.docs).items() if key != "examples"}
        return {
            "evaluation": self.evaluation,
            "training_queries": self.training_queries,
            "evaluation_queries": self.evaluation_queries,
            "exact_queries": len(self.exact_queries),
            "near_queries": len(self.near_queries),
            "docs": docs,
            "relevant_pairs": len(self.pairs),
            "examples": {
                "exact_queries": _examples(self.exact_queries),
                "near_queries": _examples(self.near_queries),
                "docs": _examples(self.docs.examples),
                "relevant_pairs": [pair._asdict() for pair in self.pairs[:_EXAMPLES]],
            },
        }

    def lines(self) -> list[str]:
        """For people: a line each on queries, docs and relevant pairs."""
        docs = self.docs
        among = "" if docs.near_among == "all" else " (looked for among the relevant)"
        return [
            f"queries: {len(self.exact_queries):,} of the {self.evaluation_queries:,} of "
            f"{self.evaluation} are in training, {len(self.near_queries):,} more nearly",
            f"docs: {docs.exact:,} of {docs.docs:,} are in training, {docs.near:,} more "
            f"nearly{among}; of the {docs.relevant:,} relevant ones {docs.relevant_exact:,} and "
            f"{docs.relevant_near:,}, {docs.relevant_positive:,} as a positive",
            f"relevant pairs: {len(self.pairs):,} are in training",
        ]


def _examples(matches: tuple[Match, ...]) -> list[dict[str, Any]]:
    return [
        {
            **match._asdict(),
            "text": _shown(match.text),
            "training_text": _shown(match.training_text),
            "similarity": round(match.similarity, 4),
        }
        for match in matches[:_EXAMPLES]
    ]


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
