"""HyDE: search with made-up answers, which resemble documents more than the question does.

Gao, Ma, Lin and Callan, ACL 2023: v = (f(q) + Σ_i f(d_i)) / (N + 1) over the N docs d_i that a
language model writes for the query q. A dense retriever encodes them as docs, and the query as a
query where its model tells the two apart (the paper's Contriever does not). BM25 adds the scores of
query and docs alike; any other retriever is given their texts, joined. The paper samples its docs;
decoding here is greedy, so that a run can be repeated, and N docs need N prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.errors import ConfigError
from evalkit.llm.prompts import Task
from evalkit.queries.prompted import PromptedTransform
from evalkit.queries.transform import Part
from evalkit.types import LanguageModel, Query

HYDE = Task("hyde", needs=("query",), may=("history",))


class Hyde(PromptedTransform):
    """The query and one hypothetical doc a prompt, all weighing the same.

    prompts: "hyde", "hyde_article", or YAML files. max_tokens: the longest doc. A blank answer is
    left out and counted in `details`; with no other, the query stays as it is.
    """

    def __init__(
        self,
        llm: LanguageModel,
        prompts: Sequence[str] = ("hyde",),
        language: str = "auto",
        max_tokens: int = 256,
    ) -> None:
        if not prompts or len(set(prompts)) < len(prompts):
            raise ConfigError(
                f"hyde: prompts={list(prompts)}; expected at least one, and each once: greedy "
                "decoding answers the same prompt with the same doc"
            )
        super().__init__(llm, HYDE, prompts, language, max_tokens)

    def parts(self, queries: Sequence[Query]) -> list[list[Part]]:
        return [_averaged(query, docs) for query, docs in self.answered(queries)]


def _averaged(query: Query, docs: Sequence[str]) -> list[Part]:
    weight = 1 / (len(docs) + 1)
    made_up = [Part(Query(query.query_id, doc), weight, "doc") for doc in docs]
    return [Part(query, weight), *made_up]
