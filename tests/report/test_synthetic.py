"""Figures over synthetic queries say so in every table, headline, plot, page and tracked run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evalkit.report.captions import caption
from evalkit.report.drawing import _title
from evalkit.report.headline import headline
from evalkit.report.html import report_html
from evalkit.report.plots import plots
from evalkit.report.table import tables, to_latex, to_markdown
from evalkit.tracking.content import _dataset, _tags

NOTE = "Synthetic queries and judgements (m_1)."


@pytest.fixture
def results(realistic):
    info = realistic.dataset._replace(synthetic="synthetic queries and judgements (m_1)")
    return replace(realistic, dataset=info)


def test_every_table_says_it(results):
    shown = tables(results)
    assert len(shown) == 2
    for table in shown:
        assert NOTE in table.caption
        assert "Synthetic queries" in to_markdown(table)
        assert r"(m\_1)" in to_latex(table)


def test_headline_plots_and_page_say_it(results, realistic):
    assert headline(results)[0].startswith(NOTE + " Highest")
    assert "ynthetic queries and judgements (m_1)" in _title(results)
    assert caption(results, "ndcg_10_over_k.png").endswith(NOTE)
    pictures = plots(results)
    assert pictures.keys() == plots(realistic).keys()
    assert all(pictures[name] != plain for name, plain in plots(realistic).items())
    page = report_html(results, pictures)
    captions = page.count("<figcaption>")
    # Each caption once, each plot's alt text, the lead and the facts of the dataset.
    shown = [name for name in pictures if name.endswith(".png")]
    assert page.count(NOTE) == captions + len(shown) + 2


def test_mlflow_is_told(results):
    dataset = {**results.dataset._asdict()}
    assert _tags("out", dataset, {})["evalkit.synthetic"] == results.dataset.synthetic
    assert results.dataset.synthetic in _dataset(dataset).profile
    del dataset["synthetic"]  # an older output folder
    assert "evalkit.synthetic" not in _tags("out", dataset, {})


def test_nothing_is_said_of_people_s_judgements(realistic):
    texts = [*(table.caption for table in tables(realistic)), *headline(realistic)]
    texts += [
        _title(realistic),
        report_html(realistic, {}),
        str(_tags("o", realistic.dataset._asdict(), {})),
    ]
    assert not any("ynthetic" in text for text in texts)
