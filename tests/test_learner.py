"""One update against the same update written from the text, for each choice the text leaves."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from helpers.environments import BOTH_PATHS, steps_envs
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from torch.distributions import Normal

from sb3_tdac import TDAC, TEXTBOOK
from sb3_tdac.policies import TDACPolicy

GAMMA, RATE, CRITIC_RATE = 0.9, 0.05, 0.1


class TransitionRecorder(BaseCallback):
    """Keeps x, u, r, x', terminated and t of every step, read from the environments alone."""

    def _init_callback(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.elapsed = np.zeros(self.training_env.num_envs)

    def _on_step(self) -> bool:
        step = self.locals
        for env, info in enumerate(step["infos"]):
            done = step["dones"][env]
            successor = info["terminal_observation"] if done else step["new_obs"][env]
            terminated = done and not info["TimeLimit.truncated"]
            x, u, r = self.model._last_obs[env], step["actions"][env], step["rewards"][env]
            self.rows.append((x, u, r, successor, terminated, self.elapsed[env]))
            self.elapsed[env] = 0 if done else self.elapsed[env] + 1
        return True

    def batch(self) -> list[Tensor]:
        columns = zip(*self.rows, strict=True)
        return [torch.as_tensor(np.array(column, dtype=np.float32)) for column in columns]


def reduced(terms: Tensor, options: dict[str, Any]) -> Tensor:
    return terms.sum() if options["loss_reduction"] == "sum" else terms.mean()


def descend(loss: Tensor, parameters: list[Tensor], rate: float, options: dict[str, Any]) -> None:
    gradients = torch.autograd.grad(loss, parameters)
    norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients)).item()
    clip = options["max_grad_norm"]
    scale = 1.0 if clip is None else min(1.0, clip / norm)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= rate * scale * gradient


def td_error(policy: TDACPolicy, batch: list[Tensor], gradient: str = "residual") -> Tensor:
    x, _, r, successor, terminated, _ = batch
    target = r + GAMMA * (1 - terminated) * policy.predict_values(successor).flatten()
    if gradient == "semi":
        target = target.detach()
    return target - policy.predict_values(x).flatten()


def update_by_the_text(policy: TDACPolicy, batch: list[Tensor], options: dict[str, Any]) -> None:
    """Equations (4.20)-(4.26) with torch's own normal density, and the choices of the options."""
    old = copy.deepcopy(policy)
    if options["normalize_reward"]:
        batch = [*batch[:2], scaled_rewards(batch), *batch[3:]]
    for _ in range(options["critic_steps"]):
        loss = reduced(0.5 * td_error(policy, batch, options["critic_gradient"]) ** 2, options)
        descend(loss, list(policy.critic_modules().parameters()), CRITIC_RATE, options)
    advantage = td_error(policy if options["critic_first"] else old, batch).detach()
    if options["scale_advantage"]:  # the first of its average
        advantage = advantage / torch.sqrt((advantage**2).mean())
    if options["normalize_advantage"]:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    if options["discount_states"]:
        advantage = advantage * GAMMA ** batch[5]
    x, u = batch[:2]
    normal = Normal(policy.get_distribution(x).mean, policy.get_distribution(x).std)
    loss = -reduced(normal.log_prob(u).sum(1) * advantage, options)
    loss = loss - options["ent_coef"] * reduced(normal.entropy().sum(1), options)
    descend(loss, list(policy.actor_modules().parameters()), RATE, options)


def scaled_rewards(batch: list[Tensor]) -> Tensor:
    """Over the root mean square of the returns; rows alternate between the environments."""
    reward, elapsed = batch[2].numpy().astype(float), batch[5].numpy()
    returns = reward.copy()
    for row in range(2, len(returns)):
        if elapsed[row] > 0:
            returns[row] += GAMMA * returns[row - 2]
    scaled = reward / np.sqrt((returns**2).mean())
    return torch.as_tensor(scaled.clip(-10, 10), dtype=torch.float32)


def make_model(options: dict[str, Any], **kwargs: Any) -> TDAC:
    policy_kwargs = TEXTBOOK["policy_kwargs"] | dict(
        optimizer_class=torch.optim.SGD, optimizer_kwargs={}, net_arch=[8]
    )
    settings = options | dict(
        policy_kwargs=policy_kwargs, learning_rate=RATE, critic_learning_rate=CRITIC_RATE
    )
    return TDAC("MlpPolicy", steps_envs(), n_steps=9, gamma=GAMMA, seed=0, **settings, **kwargs)


CHOICES: dict[str, dict[str, Any]] = {
    "textbook": {},
    "residual gradient": dict(critic_gradient="residual"),
    "both from the old critic": dict(critic_first=False),
    "three critic steps": dict(critic_steps=3),
    "three critic steps, old critic": dict(critic_steps=3, critic_first=False),
    "mean": dict(loss_reduction="mean"),
    "factor gamma^t": dict(discount_states=True),
    "advantages scaled": dict(scale_advantage=True),
    "advantages normalized": dict(normalize_advantage=True),
    "advantages normalized, gamma^t": dict(normalize_advantage=True, discount_states=True),
    "entropy bonus": dict(ent_coef=0.3),
    "entropy bonus, mean": dict(ent_coef=0.3, loss_reduction="mean"),
    "gradients clipped": dict(max_grad_norm=0.1),
    "rewards normalized": dict(normalize_reward=True),
    "all": dict(
        critic_gradient="residual",
        critic_first=False,
        critic_steps=2,
        loss_reduction="mean",
        discount_states=True,
        normalize_advantage=True,
        normalize_reward=True,
        scale_advantage=False,
        ent_coef=0.1,
        max_grad_norm=0.2,
    ),
}


@pytest.mark.equation("4.6", "4.23")
@BOTH_PATHS
@pytest.mark.parametrize("choice", CHOICES)
def test_update_is_that_of_the_text(choice: str, fast_path: bool) -> None:
    options = TEXTBOOK | CHOICES[choice] | dict(fast_path=fast_path)
    model, recorder = make_model(options), TransitionRecorder()
    expected = copy.deepcopy(model.policy)
    start = expected.parameters_to_vector()
    model.learn(18, callback=recorder)
    update_by_the_text(expected, recorder.batch(), options)
    # float32 rounding of parameters near one, over at most three steps
    np.testing.assert_allclose(
        model.policy.parameters_to_vector(), expected.parameters_to_vector(), atol=2e-6
    )
    assert np.abs(expected.parameters_to_vector() - start).max() > 1e-3


def test_each_choice_changes_the_update() -> None:
    """Else the test above would hold for an option without effect."""
    vectors = {}
    for choice, options in CHOICES.items():
        model = make_model(TEXTBOOK | options).learn(18)
        vectors[choice] = model.policy.parameters_to_vector()
    names = list(vectors)
    for i, first in enumerate(names):
        for second in names[:i]:
            assert np.abs(vectors[first] - vectors[second]).max() > 1e-4, (first, second)


def test_the_recorded_batch_has_terminations_time_limits_and_a_cut_in_the_middle() -> None:
    recorder = TransitionRecorder()
    make_model(TEXTBOOK).learn(18, callback=recorder)
    _, _, _, _, terminated, elapsed = recorder.batch()
    # each environment: 4 steps and a time limit, 3 and a termination, 2 steps of the next episode
    assert terminated.sum() == 2
    assert elapsed[0::2].tolist() == elapsed[1::2].tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1]


def test_density_sees_the_observations_as_the_sampling_policy_did() -> None:
    """The running mean and std of the observations move between updates, not within one."""
    outputs: dict[bool, list[Tensor]] = {True: [], False: []}
    model = make_model(TEXTBOOK | dict(normalize_observation=True))
    model.policy.action_net.register_forward_hook(
        lambda *args: outputs[torch.is_grad_enabled()].append(args[-1].detach())
    )
    model.learn(18 * 3)
    in_rollouts, in_updates = torch.cat(outputs[False]), torch.cat(outputs[True])
    torch.testing.assert_close(in_rollouts, in_updates)
