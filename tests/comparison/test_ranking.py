"""DD-Ranking's two scores: by hand, and never outside [0, 1]."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condense.comparison.ranking import augmentation_robust_score, label_robust_score

FRACTION = st.floats(0, 1)


def test_label_robust_score_equals_the_value_computed_by_hand():
    # HLR = 0.85 - 0.55 = 0.30, IOR = 0.65 - 0.45 = 0.20, alpha = 0.5 * 0.20 - 0.5 * 0.30 = -0.05
    by_hand = (0.951229424500714 - 0.367879441171442) / (2.718281828459045 - 0.367879441171442)
    assert label_robust_score(0.85, 0.55, 0.65, 0.45) == pytest.approx(by_hand, abs=1e-12)
    assert by_hand == pytest.approx(0.2481915, abs=1e-6)


def test_augmentation_robust_score_equals_the_value_computed_by_hand():
    # beta = 0.5 * (0.60 - 0.50) + 0.5 * (0.40 - 0.35) = 0.075
    by_hand = (1.0778841508846315 - 0.367879441171442) / (2.718281828459045 - 0.367879441171442)
    assert augmentation_robust_score(0.60, 0.50, 0.40, 0.35) == pytest.approx(by_hand, abs=1e-12)


def test_weights_move_between_the_two_terms():
    assert label_robust_score(0.9, 0.4, 0.7, 0.5, weight=1) == pytest.approx(curve(0.2), abs=1e-12)
    assert label_robust_score(0.9, 0.4, 0.7, 0.5, weight=0) == pytest.approx(curve(-0.5), abs=1e-12)
    assert augmentation_robust_score(0.7, 0.5, 0.4, 0.3, weight=0.25) == pytest.approx(curve(0.125), abs=1e-12)


def curve(x):
    return (math.exp(x) - math.exp(-1)) / (math.e - math.exp(-1))


@given(FRACTION, FRACTION, FRACTION, FRACTION, FRACTION)
def test_scores_lie_between_0_and_1(a, b, c, d, weight):
    assert 0 <= label_robust_score(a, b, c, d, weight) <= 1
    assert 0 <= augmentation_robust_score(a, b, c, d, weight) <= 1


def test_the_best_and_the_worst_case_are_1_and_0():
    assert label_robust_score(0, 1, 1, 0) == 1 and label_robust_score(1, 0, 0, 1) == 0
    assert augmentation_robust_score(1, 0, 1, 0) == 1 and augmentation_robust_score(0, 1, 0, 1) == 0


@pytest.mark.parametrize("score", [label_robust_score, augmentation_robust_score])
def test_percentages_are_refused(score):
    with pytest.raises(ValueError, match="divide percentages by 100"):
        score(0.85, 55.0, 0.65, 0.45)
