"""TransitionBuffer: which state follows which, at terminations, time limits and rollout ends."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from sb3_tdac.transitions import TransitionBuffer, Transitions

CPU = torch.device("cpu")
BOX = spaces.Box(-np.inf, np.inf, (1,))
ACTION = spaces.Box(-1.0, 1.0, (2,))


def rollout(observation_space: spaces.Space[Any] = BOX, wrap: Any = lambda obs: obs) -> Transitions:
    """Two environments, three steps. Environment e is in state 10 e + t before step t.

    Environment 0 hits a time limit at step 1 in state 99 and is reset to 0.5; environment 1
    terminates at step 1, is reset to 10.5, and hits a time limit at the last step in state 98.
    """
    states = np.array([[[0.0], [10.0]], [[1.0], [11.0]], [[0.5], [10.5]], [[2.0], [10.25]]])
    dones = [[False, False], [True, True], [False, True]]
    nothing: dict[str, Any] = {}
    limit = {"TimeLimit.truncated": True, "terminal_observation": wrap(np.array([99.0]))}
    last = {"TimeLimit.truncated": True, "terminal_observation": wrap(np.array([98.0]))}
    end = {"TimeLimit.truncated": False, "terminal_observation": wrap(np.array([77.0]))}
    infos = [[nothing, nothing], [limit, end], [nothing, last]]
    elapsed = [[5, 0], [6, 1], [0, 0]]
    buffer = TransitionBuffer(3, 2, observation_space, ACTION)
    for t in range(3):
        actions = np.full((2, 2), t, np.float32)
        rewards = np.array([t, 10 + t], np.float32)
        buffer.add(
            wrap(states[t]), actions, rewards, np.array(dones[t]), infos[t], np.array(elapsed[t])
        )
    buffer.finish(wrap(states[3]))
    return buffer.rows().to(CPU)


def test_rows_are_steps_first_then_environments() -> None:
    batch = rollout()
    assert batch.state.flatten().tolist() == [0.0, 10.0, 1.0, 11.0, 0.5, 10.5]
    assert batch.reward.tolist() == [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]
    assert batch.action.tolist() == [[t, t] for t in (0, 0, 1, 1, 2, 2)]
    assert batch.elapsed_steps.tolist() == [5, 0, 6, 1, 0, 0]


def test_successor_is_the_next_state_or_the_one_that_a_time_limit_cut() -> None:
    batch = rollout()
    successor = batch.states[batch.successor].flatten()
    assert successor[~batch.terminated].tolist() == [1.0, 11.0, 99.0, 2.0, 98.0]


def test_only_termination_is_termination() -> None:
    assert rollout().terminated.tolist() == [False, False, False, True, False, False]


def test_reset_observations_succeed_nothing() -> None:
    batch = rollout()
    successor = batch.states[batch.successor].flatten()[~batch.terminated]
    assert not {0.5, 10.5, 10.25} & set(successor.tolist())


def test_dict_observations_have_the_same_successors() -> None:
    space = spaces.Dict({"a": BOX, "b": BOX})
    batch = rollout(space, wrap=lambda obs: {"a": obs, "b": -obs})
    for key, sign in (("a", 1), ("b", -1)):
        assert torch.equal(batch.states[key], sign * rollout().states)
        assert torch.equal(batch.state[key], sign * rollout().state)


def test_a_second_rollout_forgets_the_first() -> None:
    buffer = TransitionBuffer(1, 1, BOX, ACTION)
    limit = {"TimeLimit.truncated": True, "terminal_observation": np.array([99.0])}
    for info, done in ((limit, True), ({}, False)):
        buffer.reset()
        buffer.add(np.zeros((1, 1)), np.zeros((1, 2)), np.zeros(1), np.array([done]), [info], [0])
        buffer.finish(np.ones((1, 1)))
    batch = buffer.rows().to(CPU)
    assert batch.states.flatten().tolist() == [0.0, 1.0]
    assert batch.successor.tolist() == [1]


@pytest.mark.parametrize(
    "space, given, expected",
    [
        (spaces.Box(-1, 1, (2, 2)), [[0.5, -1.0], [0.0, 1.0]], torch.tensor([0.5, -1.0, 0.0, 1.0])),
        (spaces.Discrete(3), 2, torch.tensor(2)),
        (spaces.MultiDiscrete([3, 2]), [2, 0], torch.tensor([2, 0])),
        (spaces.MultiBinary(3), [1, 0, 1], torch.tensor([1.0, 0.0, 1.0])),
    ],
    ids=lambda case: type(case).__name__,
)
def test_actions_have_the_form_that_the_density_takes(
    space: spaces.Space[Any], given: Any, expected: torch.Tensor
) -> None:
    buffer = TransitionBuffer(1, 1, BOX, space)
    action = np.array([given], space.dtype)
    buffer.add(np.zeros((1, 1)), action, np.zeros(1), np.array([False]), [{}], [0])
    buffer.finish(np.ones((1, 1)))
    torch.testing.assert_close(buffer.rows().to(CPU).action, expected[None], rtol=0, atol=0)
