"""The query rewritten by a language model: a question that stands alone, or keywords.

Conversational questions lean on what was said before ("and in winter?"); a rewrite puts it back
(Elgohary et al., EMNLP 2019; Anantha et al., NAACL 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.llm.prompts import Task
from evalkit.queries.prompted import PromptedTransform
from evalkit.queries.transform import Part
from evalkit.types import LanguageModel, Query

REWRITE = Task("rewrite", needs=("query",), may=("history",))


class Rewrite(PromptedTransform):
    """What the model makes of a query and its history replaces both.

    prompt: "rewrite" for a question that stands alone, "rewrite_keywords", or a YAML file.
    max_tokens: the longest rewrite. Where the answer is blank, the query stays as it is, history
    included, and is counted in `details`.
    """

    def __init__(
        self,
        llm: LanguageModel,
        prompt: str = "rewrite",
        language: str = "auto",
        max_tokens: int = 64,
    ) -> None:
        super().__init__(llm, REWRITE, [prompt], language, max_tokens)

    def parts(self, queries: Sequence[Query]) -> list[list[Part]]:
        return [
            [Part(Query(query.query_id, answers[0]) if answers else query)]
            for query, answers in self.answered(queries)
        ]
