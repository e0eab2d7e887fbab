"""What a run cost and met, as it is collected."""

import logging

from evalkit.execution import ExecutionLog


def test_warnings_of_other_modules_are_kept_once_while_it_listens(caplog):
    execution, other = ExecutionLog(), logging.getLogger("evalkit.llm.weights")
    other.warning("before")
    with execution.listening():
        other.warning("a copy of %d bits", 4)
        other.warning("a copy of %d bits", 4)
        other.info("no warning")
        logging.getLogger("transformers").warning("not ours")
        execution.warn("its own")
    other.warning("after")
    assert execution.warnings == ["a copy of 4 bits", "its own"]


def test_work_adds_up_by_component_and_unit():
    execution = ExecutionLog()
    execution.add_work("reranker.a", {"asked": 3, "scored": 1})
    execution.add_work("reranker.a", {"asked": 2, "requests": 5})
    execution.add_work("reranker.none", {})
    assert execution.work == {"reranker.a": {"asked": 5, "scored": 1, "requests": 5}}
