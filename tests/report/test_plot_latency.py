"""What the plot of latency over K leaves out: percentiles that too few times support."""

import numpy as np

from evalkit.report.plot_latency import latency_over_k

from .test_efficiency import measured


def drawn(monkeypatch, results):
    """The series that the plot of these results draws."""
    seen = []
    monkeypatch.setattr(
        "evalkit.report.plot_latency.draw", lambda results, lines: seen.append(lines)
    )
    latency_over_k(results)
    return seen[0].series["bm25", "cross_encoder"]


def test_no_band_and_no_dot_where_a_percentile_is_not_supported(monkeypatch):
    few = drawn(monkeypatch, measured(queries=6, repeats=2))  # 12 times: p95 takes 20
    assert few.high == few.ys
    many = drawn(monkeypatch, measured(queries=60, repeats=2))
    assert all(high > y for high, y in zip(many.high, many.ys, strict=True))
    assert np.isnan(few.far).all()
    assert not np.isnan(many.far).any()
