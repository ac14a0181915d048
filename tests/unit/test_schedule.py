import pytest

from biolm_ray.training.schedule import rate_factor


def test_warm_up_rises_in_even_steps_to_the_full_rate():
    factors = [rate_factor(step, 100, "constant", 0.1) for step in range(12)]
    assert factors[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert factors[10:] == [1.0, 1.0]


def test_linear_and_cosine_fall_to_nothing():
    for schedule in ("linear", "cosine"):
        factors = [rate_factor(step, 100, schedule, 0.0) for step in range(101)]
        assert factors[0] == 1.0
        assert factors[50] == pytest.approx(0.5)
        assert factors[100] == pytest.approx(0.0)
        assert factors == sorted(factors, reverse=True)
