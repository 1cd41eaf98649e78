"""All algorithms are evaluated on the same episodes after the same steps."""

from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from helpers.zoo import OUT
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_tdac import TDAC
from sb3_tdac.zoo.compare.evaluation import Evaluation
from sb3_tdac.zoo.compare.folders import read
from sb3_tdac.zoo.compare.runs import EVAL_SEED, Run

FILES = ["comparison.md", "comparison.json", "evaluations.csv.gz", "aggregates.png"]
FILES += ["sample_efficiency.png", "probability_of_improvement.png"]
FILES += ["curve_CartPole-v1.png", "curve_Pendulum-v1.png"]


def test_every_run_is_evaluated_at_the_same_steps_in_both_modes(compared: Path) -> None:
    found = pd.read_csv(compared / OUT / "evaluations.csv.gz")
    keys = found.groupby(["env", "algo", "seed"])[["mode", "step", "episode"]]
    expected = sorted(product(["deterministic", "stochastic"], [0, 100, 200], [0, 1]))
    assert keys.ngroups == 8
    for _, rows in keys:
        assert sorted(rows.itertuples(index=False, name=None)) == expected
    for name in FILES:
        assert (compared / OUT / name).stat().st_size > 0


def test_returns_are_those_of_the_saved_agent_and_its_normalisation(compared: Path) -> None:
    # rl_zoo3 trains A2C on Pendulum-v1 with VecNormalize
    folder = compared / OUT / "a2c" / "Pendulum-v1_2"
    env = make_vec_env("Pendulum-v1", 2)
    env = VecNormalize.load(str(folder / "Pendulum-v1" / "vecnormalize.pkl"), env)
    env.training = env.norm_reward = False
    model = A2C.load(folder / "Pendulum-v1.zip", env=env)
    env.seed(EVAL_SEED)  # after the model seeded it with its own
    returns, _ = evaluate_policy(model, env, 2, return_episode_rewards=True)
    found = pd.read_csv(compared / OUT / "evaluations.csv.gz")
    rows = found.query(
        "env == 'Pendulum-v1' and algo == 'a2c' and seed == 1 and step == 200 "
        "and mode == 'deterministic'"
    )
    assert rows["return"].to_list() == pytest.approx(returns, rel=1e-5)


@pytest.mark.parametrize("algorithm", [A2C, TDAC])
def test_evaluations_do_not_change_the_training(
    algorithm: type[A2C | TDAC], tmp_path: Path
) -> None:
    run = Run(tmp_path, "Pendulum-v1", "any", 0, {"n_timesteps": 200, "eval_freq": 50})
    run.folder.mkdir(parents=True)
    parameters = []
    for evaluated in (False, True):
        model = algorithm("MlpPolicy", make_vec_env("Pendulum-v1", 4, seed=0), seed=0)
        callback = Evaluation(run, make_vec_env("Pendulum-v1", 2)) if evaluated else None
        parameters.append(model.learn(200, callback).policy.state_dict())
    assert [row["step"] for row in run.evaluations()] == [*[0] * 2, *[50] * 2, *[100] * 2, 150, 150]
    for name, value in parameters[0].items():  # A2C's differ by rounding, in the last bit
        assert value.allclose(parameters[1][name], rtol=0, atol=1e-6), name


def test_time_of_training_leaves_out_that_of_evaluation(compared: Path) -> None:
    found = read(compared / OUT).returns
    assert (found[found.step == 0].cpu_seconds < 0.05).all()
    by_run = found[found["mode"] == "deterministic"].groupby(["env", "algo", "seed"])
    assert (by_run.cpu_seconds.diff().dropna() > 0).all()
    assert (found.cpu_seconds <= found.seconds + 0.02).all()
