"""Files of earlier versions load, and training goes on from them as it did there."""

import numpy as np
import pytest
import torch
from helpers.environments import pendulum
from helpers.saved_models import DATA

from sb3_tdac import TDAC

#: Another processor may round differently.
TOLERANCE = dict(rtol=1e-5, atol=1e-6)
#: With other rounding (without compiled kernels, or of Pendulum-v1 with NumPy 1), parameters differ
#: by 2e-4 after 50 updates; where the state of one optimizer is lost, by 4e-2 or more.
TRAINED_TOLERANCE = dict(rtol=0, atol=1e-3)


@pytest.mark.filterwarnings("ignore:numpy.core")
def test_a_model_of_version_0_1_0_loads_and_trains_on() -> None:
    """Trained 400 steps with seed 1, ``n_steps=4``, ``net_arch=[4]`` in two environments.

    Written with the oldest versions: what NumPy 2 writes, NumPy 1 cannot read.
    """
    model = TDAC.load(DATA / "tdac_0.1.0.zip", pendulum())
    obs = np.array([[1, 0, 0], [-0.6, 0.8, 2.0], [0, -1, -7.5]], np.float32)
    actions = [[-0.08568691462278366], [0.02338428422808647], [-0.10234607756137848]]
    values = [[0.605800449848175], [-1.2432297468185425], [0.8534474968910217]]
    np.testing.assert_allclose(model.predict(obs, deterministic=True)[0], actions, rtol=1e-5)
    found = model.policy.predict_values(torch.as_tensor(obs)).detach()
    np.testing.assert_allclose(found, values, rtol=1e-5)
    assert (model.num_timesteps, model._n_updates) == (400, 50)
    assert model.resume(8).num_timesteps == 408


needs_numpy_2 = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.0.0",
    reason="NumPy 1 cannot unpickle the file, which was written with NumPy 2",
)
whole_and_safe = pytest.mark.parametrize(
    ("name", "safe"), [pytest.param("whole", False, marks=needs_numpy_2), ("safe", True)]
)
STATES = np.float32([[1, 0, 0], [0, 1, 2], [-1, 0, -3]])


def model_of_0_2_0(safe: bool) -> TDAC:
    """Adam for the actor, RMSprop for the critic; interrupted after 800 of 1600 steps.

    A callback stopped it before the fiftieth update.
    """
    return TDAC.load(DATA / "tdac_0.2.0.zip", pendulum(seed=7), device="cpu", safe=safe)


def actions_of(model: TDAC) -> np.ndarray:
    return model.predict(STATES, deterministic=True)[0]


@whole_and_safe
def test_a_model_of_version_0_2_0_loads_with_both_optimizers_states(name: str, safe: bool) -> None:
    model, recorded = model_of_0_2_0(safe), np.load(DATA / "tdac_0.2.0_resumed.npz")
    assert (model.num_timesteps, model._n_updates) == (800, 49)
    np.testing.assert_allclose(actions_of(model), recorded["predict"], **TOLERANCE)
    policy = model.policy
    for optimizer, kind, square, steps in (
        (policy.optimizer, torch.optim.Adam, "exp_avg_sq", 49),
        (policy.critic_optimizer, torch.optim.RMSprop, "square_avg", 4 * 49),  # 4 critic_steps
    ):
        assert type(optimizer) is kind
        (group,) = optimizer.param_groups
        assert optimizer.state.keys() == {*group["params"]}
        for state in optimizer.state.values():
            assert state["step"] == steps and state[square].any()


@whole_and_safe
def test_training_goes_on_from_a_file_of_version_0_2_0_as_it_did_there(
    name: str, safe: bool
) -> None:
    """With ``safe=True`` the generators start from a seed; the whole file restores them."""
    model, recorded = model_of_0_2_0(safe), np.load(DATA / "tdac_0.2.0_resumed.npz")
    if safe:
        torch.manual_seed(5)
        model.set_random_seed(5)
    model.resume()
    assert model.num_timesteps == recorded[f"{name}_steps"] == 1600
    parameters = model.policy.parameters_to_vector()
    after = recorded[f"{name}_predict_after"]
    np.testing.assert_allclose(parameters, recorded[f"{name}_parameters"], **TRAINED_TOLERANCE)
    np.testing.assert_allclose(actions_of(model), after, **TRAINED_TOLERANCE)
