"""Numbers, callables and rl-zoo's strings as schedules."""

import pytest

from sb3_tdac.schedules import CheckedSchedule


@pytest.mark.parametrize(
    "value, expected",
    [
        (0.5, [0.5, 0.5, 0.5]),
        (lambda progress: 2 * progress, [2.0, 1.0, 0.0]),
        ("lin_0.5", [0.5, 0.25, 0.0]),
        ("lin_7e-4", [7e-4, 3.5e-4, 0.0]),
    ],
)
def test_value_at_the_start_the_middle_and_the_end(value: object, expected: list[float]) -> None:
    schedule = CheckedSchedule("learning_rate", value)
    assert [schedule(progress) for progress in (1.0, 0.5, 0.0)] == pytest.approx(expected)
