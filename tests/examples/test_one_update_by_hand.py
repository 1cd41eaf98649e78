"""``one_update_by_hand.py`` makes the update of ``TDAC.train`` from the equations."""

import one_update_by_hand
from helpers.scripts import call_main


def test_one_update_by_hand_is_that_of_the_algorithm() -> None:
    lines = call_main(one_update_by_hand).splitlines()
    for equation in ("(4.19)", "(4.20)", "(4.21)", "(4.22)", "(4.23)", "(4.24)", "(4.26)"):
        assert any(equation in line for line in lines)
    assert float(lines[-1].split()[-1]) < 1e-6
