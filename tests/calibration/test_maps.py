"""Maps from score to probability: known ones are found again, and each is monotone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evalkit.calibration.maps import METHODS, Platt, fit, sigmoid
from evalkit.errors import ConfigError


def drawn(a, b, n=200_000, scale=1.0, centre=0.0, seed=0):
    """Scores, and labels that are relevant with probability σ(a · score + b)."""
    generator = np.random.default_rng(seed)
    scores = (centre + scale * generator.normal(size=n)).astype(np.float32)
    return scores, generator.random(n) < sigmoid(a * scores.astype(float) + b)


@pytest.mark.parametrize("smoothing", [True, False])
@pytest.mark.parametrize(
    ("a", "b", "scale", "centre"),
    [(1.7, -2.0, 1.0, 0.0), (0.4, -1.0, 6.0, -3.0), (25.0, -12.0, 0.15, 0.4)],
)
def test_platt_finds_a_known_slope_and_offset_within_2_percent(a, b, scale, centre, smoothing):
    found = fit("platt", *drawn(a, b, scale=scale, centre=centre), smoothing)
    assert found.a == pytest.approx(a, rel=0.02)
    assert found.b == pytest.approx(b, rel=0.02)
    assert found.parameters == {"a": found.a, "b": found.b}


@pytest.mark.parametrize("temperature", [0.3, 4.0])
def test_temperature_finds_a_known_one_within_2_percent(temperature):
    found = fit("temperature", *drawn(1 / temperature, 0.0, scale=3.0))
    assert found.temperature == pytest.approx(temperature, rel=0.02)


def test_isotonic_finds_the_curve_that_no_sigmoid_has():
    generator = np.random.default_rng(1)
    scores = generator.random(100_000)
    truth = np.where(scores < 0.5, 0.1, 0.6)
    found = fit("isotonic", scores, generator.random(len(scores)) < truth)
    probability = found.probability(np.array([0.1, 0.3, 0.7, 0.9]))
    assert probability == pytest.approx([0.1, 0.1, 0.6, 0.6], abs=0.03)
    assert found.probability(np.array([-9.0, 9.0])).tolist() == [
        found.probabilities[0],
        found.probabilities[-1],
    ]


def test_platt_is_at_the_maximum_of_the_likelihood_of_smoothed_targets():
    scores, labels = drawn(1.0, -1.0, n=300)
    found = fit("platt", scores, labels)
    positive, negative = labels.sum(), (~labels).sum()
    targets = np.where(labels, (positive + 1) / (positive + 2), 1 / (negative + 2))
    rest = targets - found.probability(scores)
    assert abs(rest.sum()) < 1e-6
    assert abs((rest * scores).sum()) < 1e-6


def test_smoothing_keeps_perfectly_separated_labels_from_being_certain():
    scores, labels = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])
    probability = fit("platt", scores, labels).probability(scores)
    assert probability == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.15)
    with pytest.raises(ConfigError, match="set smoothing=true"):
        fit("platt", scores, labels, smoothing=False)
    with pytest.raises(ConfigError, match="take method=platt"):
        fit("temperature", scores - 2.5, labels)


def test_scores_against_relevance_are_given_the_base_rate_with_a_warning(caplog):
    scores, labels = drawn(-1.0, 0.0, n=2000)
    found = fit("platt", scores, labels)
    assert found == Platt(0.0, pytest.approx(0.0, abs=0.2))
    assert found.probability(scores) == pytest.approx(labels.mean(), abs=1e-3)
    assert "do not rise with relevance" in caplog.text


def test_scores_that_are_all_the_same_are_given_the_base_rate():
    labels = np.array([True] * 30 + [False] * 70)
    found = fit("platt", np.full(100, 3.0), labels, smoothing=False)
    assert found.probability(np.array([3.0])) == pytest.approx([0.3])


def test_cosines_are_no_logits_and_no_temperature_makes_them_so():
    scores, labels = drawn(20.0, -14.0, n=5000, scale=0.1, centre=0.5)
    with pytest.raises(ConfigError, match=r"no temperature fits .* take method=platt"):
        fit("temperature", scores, labels)


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
@pytest.mark.parametrize("method", METHODS)
def test_labels_of_one_kind_are_refused(method, labels):
    with pytest.raises(ConfigError, match="both kinds are needed"):
        fit(method, np.arange(len(labels), dtype=float), np.array(labels, dtype=bool))


def test_an_unknown_method_is_refused():
    with pytest.raises(ConfigError, match="expected one of platt, temperature, isotonic"):
        fit("beta", np.array([0.0, 1.0]), np.array([False, True]))


@given(
    scores=hnp.arrays(np.float32, 30, elements=st.floats(-50, 50, width=32)),
    labels=hnp.arrays(np.bool_, 30),
    method=st.sampled_from(["platt", "isotonic"]),
)
def test_a_higher_score_is_never_less_likely(scores, labels, method):
    if labels.all() or not labels.any():
        return
    found = fit(method, scores, labels)
    ascending = np.sort(np.concatenate([scores, np.linspace(-60, 60, 50, dtype=np.float32)]))
    probability = found.probability(ascending)
    assert (np.diff(probability) >= -1e-12).all()
    assert ((probability >= 0) & (probability <= 1)).all()
