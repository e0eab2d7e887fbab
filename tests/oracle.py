"""An oracle that writes queries and grades by rules that anyone can redo; and its documents."""

from __future__ import annotations

import re

TEXTS = {
    "guide/merge.md": "# Merging shards\n\nA shard is merged with its neighbour when the shard is "
    "full. The merge runs in the background, and searches see the old segments until it is done.",
    "guide/cache.md": "# Cache\n\nThe cache keeps answers for one hour. An entry is dropped at "
    "once when its document changes, so that no stale answer is served to anyone.",
    "rollback.txt": "A deploy is rolled back by naming the previous version. Migrations are not "
    "undone: a column that was removed must be restored from the nightly backup.",
    "limits.txt": "Every client may send twenty requests a second. Above that the server answers "
    "with status 429 and says in a header how many seconds to wait before trying again.",
    "缓存.md": "# 缓存失效\n\n文档修改之后，对应的缓存条目会立刻失效。"
    "其余条目保留一个小时，之后由后台任务清理。",
    "short.txt": "Too short.",
}
ASKED = {  # first words of a doc's text → what the oracle asks; "" is an answer without a query
    "Merging": "when is a shard merged with its neighbour",
    "Cache": "how long does the cache keep answers",
    "rollback": "This passage says what?",
    "limits": "",
    "缓存失效": "缓存条目什么时候失效",
}


def oracle(text: str) -> str:
    """Writes the query of ASKED for a doc; grades by shared words, "unsure" about status 429."""
    if "Passage:" in text or "段落：" in text:
        found = re.search(
            r"(?:Query: |查询：)(.*?)\n\n(?:Passage: |段落：)(.*?)\n\n", text, re.DOTALL
        )
        query, doc = found[1], found[2]
        if "429" in doc:
            return "I am unsure."
        if re.search(r"[一-鿿]", query):
            return "3" if "缓存" in doc else "0"
        shared = set(re.findall(r"\w{4,}", query.lower())) & set(re.findall(r"\w{4,}", doc.lower()))
        return f"Grade: {min(len(shared), 3)}"
    doc = re.search(r"(?:Document: |文档：)(\S+)", text)[1]
    return ASKED.get(doc, "nobody finds zebras here")
