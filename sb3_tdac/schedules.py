"""Learning rates and the entropy coefficient over the course of training."""

import math

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import ConstantSchedule, LinearSchedule

from sb3_tdac.validation import check_real

ScheduleArgument = float | str | Schedule


class CheckedSchedule:
    """A schedule from a number, a callable of the remaining progress, or ``"lin_7e-4"``.

    The string is rl-zoo's: linear from the number at the start of training to zero at its end.

    :param name: the argument it comes from, for error messages
    :param value: number, callable or string
    :raises TypeError: if it is none of these
    :raises ValueError: if the string is malformed, or a value negative or not finite

    >>> CheckedSchedule("learning_rate", "lin_0.5")(0.5)
    0.25
    """

    def __init__(self, name: str, value: ScheduleArgument):
        self.name = name
        if isinstance(value, str):
            self.schedule: Schedule = LinearSchedule(_parse_linear(name, value), 0.0, 1.0)
        elif callable(value):
            self.schedule = value
        else:
            check_real(name, value, low=0.0)
            self.schedule = ConstantSchedule(value)
        self(1.0)

    def __call__(self, progress_remaining: float) -> float:
        """Return the value at a moment of the training.

        :param progress_remaining: 1 at the start of training, 0 at its end
        :return: the value, finite and not negative
        :raises TypeError: if a user's callable returns something else than a number
        :raises ValueError: if it returns a negative or non-finite one
        """
        value = self.schedule(progress_remaining)
        check_real(f"{self.name} at progress_remaining={progress_remaining:g}", value, low=0.0)
        return float(value)


def _parse_linear(name: str, text: str) -> float:
    kind, _, number = text.partition("_")
    try:
        start = float(number)
    except ValueError:
        start = math.nan
    if kind != "lin" or not math.isfinite(start):
        raise ValueError(
            f"{name} must be a number, a callable or a string like 'lin_7e-4' "
            f"(linear from 7e-4 to 0), got {text!r}"
        )
    return start
