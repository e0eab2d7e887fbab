"""Terms that a language model expects in the answers, appended to the query.

After query2doc (Wang, Yang and Wei, EMNLP 2023), which appends a made-up document; the default
prompt asks for its terms alone. As there, the query is repeated in front, so that what was added
does not drown it in BM25.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.errors import ConfigError
from evalkit.llm.prompts import Task
from evalkit.queries.prompted import PromptedTransform
from evalkit.queries.transform import Part
from evalkit.types import LanguageModel, Query

EXPAND = Task("expand", needs=("query",), may=("history",))


class Expand(PromptedTransform):
    """The query `repeat` times, then the model's answer.

    prompt: "expand" for terms, "expand_passage" for a document as in query2doc, or a YAML file.
    repeat: 5 in the paper for BM25; 1 for a dense retriever. Where the answer is blank, the query
    stays as it is and is counted in `details`. History stays history.
    """

    def __init__(
        self,
        llm: LanguageModel,
        prompt: str = "expand",
        language: str = "auto",
        max_tokens: int = 128,
        repeat: int = 5,
    ) -> None:
        if repeat < 1:
            raise ConfigError(f"expand: repeat={repeat}; expected at least 1")
        super().__init__(llm, EXPAND, [prompt], language, max_tokens)
        self.repeat = repeat

    @property
    def _settings(self) -> Mapping[str, Any]:
        return {"repeat": self.repeat}

    def parts(self, queries: Sequence[Query]) -> list[list[Part]]:
        return [
            [Part(self._expanded(query, answers[0]) if answers else query)]
            for query, answers in self.answered(queries)
        ]

    def _expanded(self, query: Query, answer: str) -> Query:
        return query._replace(text=" ".join([query.text] * self.repeat + [answer]))
