"""The judge: grades by text or by first token, in the query's language; none is guessed."""

import numpy as np
import pytest
from tiny import OracleModel

from evalkit.errors import ConfigError
from evalkit.synthesis.judge import Judge

PAIRS = [("good query", "a doc"), ("查询 好", "文档"), ("no grade", "doc"), ("low", "doc")]


def rule(text):
    words = {"good": "Grade: 3", "好": "2", "no grade": "It depends.", "low": "0 of 3"}
    return next(answer for word, answer in words.items() if word in text)


def test_grades_come_in_order_each_asked_in_its_own_language():
    llm = OracleModel(rule)
    assert Judge(llm).grades(PAIRS) == [3, 2, None, 0]
    chinese = [p for p in llm.asked if "打一个分" in p[-1]["content"]]
    assert len(chinese) == 1
    assert "查询 好" in chinese[0][-1]["content"]
    assert Judge(llm, language="en").grades(PAIRS[1:2]) == [2]
    assert "Reply with the grade alone" in llm.asked[-1][-1]["content"]
    assert Judge(llm).grades([]) == []


def test_the_likeliest_first_token_is_the_grade_and_a_tie_is_none():
    class Model(OracleModel):
        def choose(self, prompts, options):
            values = {"good": [-3, -2, -1, -0.5], "low": [-1, -1, -2, -2]}
            rows = [next(v for w, v in values.items() if w in p[-1]["content"]) for p in prompts]
            return np.array(rows, dtype=np.float32)

    judge = Judge(Model(rule), mode="logits")
    assert judge.grades([PAIRS[0], PAIRS[3]]) == [3, None]
    assert judge.top_grade == 3


def test_blocks_leave_the_order_as_it_is(monkeypatch):
    monkeypatch.setattr("evalkit.synthesis.judge._BLOCK", 2)
    assert Judge(OracleModel(rule)).grades(PAIRS * 2) == [3, 2, None, 0] * 2


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"prompt": "listwise"}, "prompt=listwise: expected .*pointwise_umbrela"),
        ({"mode": "guess"}, "mode=guess"),
        ({"max_tokens": 0}, "grade_tokens=0"),
        ({"language": "de"}, "language=de"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, problem):
    with pytest.raises(ConfigError, match=problem):
        Judge(OracleModel(rule), **settings)
    with pytest.raises(ConfigError, match="expected a language model"):
        Judge(None)
