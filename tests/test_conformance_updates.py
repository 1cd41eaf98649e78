"""SB3's own tests with TDAC in A2C's place: schedules, optimizers, networks, modes and logs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from helpers.environments import STATES, small_model
from helpers.model_state import State, assert_identical, differences, state
from helpers.recorders import Recorder, rows_of, train_keys
from stable_baselines3.common import callbacks
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from sb3_tdac import TDAC, TEXTBOOK, MlpPolicy

NAMES = ["actor_loss", "critic_loss", "entropy", "std", "td_error", "explained_variance"]
NAMES += ["learning_rate", "critic_learning_rate", "n_updates"]
TRAIN_KEYS = {f"train/{name}" for name in NAMES}


@pytest.mark.parametrize("interval", [{}, dict(log_interval=1), dict(log_interval=3)])
def test_each_logged_row_has_the_figures_of_the_update_before_it(interval: dict[str, int]) -> None:
    every, model = interval.get("log_interval", 100), small_model(n_steps=1, critic_steps=1)
    rows = rows_of(model)
    for n_rows in (1, 2):
        model.learn(n_rows * every, reset_num_timesteps=False, **interval)
    assert [row["time/iterations"] for row in rows] == [every, every, 2 * every]
    for i, row in enumerate(rows, start=1):
        n_updates = i * every - 1  # SB3 writes the row before the update of the same iteration
        assert train_keys(row) == (TRAIN_KEYS if n_updates else set())
        assert row.get("train/n_updates", 0) == n_updates


def test_discrete_actions_have_no_std_to_log() -> None:
    model = TDAC("MlpPolicy", "CartPole-v1", n_steps=4)
    rows = rows_of(model)
    model.learn(8, log_interval=2)
    assert train_keys(rows[0]) == TRAIN_KEYS - {"train/std"}


def test_nothing_is_pulled_off_the_device_on_updates_that_are_not_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, pulled, item = small_model(normalize_reward=False), [], Tensor.item
    monkeypatch.setattr(Tensor, "item", lambda tensor: pulled.append(tensor) or item(tensor))
    counts = []
    for log_interval in (None, 6, 2):
        pulled.clear()
        model.learn(24, log_interval=log_interval)  # 6 updates
        counts.append(len(pulled))
    assert counts[0] == 0 and counts[1] > 0 and counts[2] == 3 * counts[1]


def test_logs_by_timesteps_have_the_figures_of_the_last_update() -> None:
    model = small_model()
    rows = rows_of(model)
    model.learn(16, callbacks.LogEveryNTimesteps(6), log_interval=None)
    assert [row["train/n_updates"] for row in rows] == [1, 2]  # at steps 6 and 12


def test_every_format_writes_the_documented_keys(tmp_path: Path, capsys: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = small_model()
    model.set_logger(configure(str(tmp_path), ["stdout", "csv", "tensorboard"]))
    model.learn(12, log_interval=1)
    model.logger.close()
    header = (tmp_path / "progress.csv").read_text().split("\n")[0].split(",")
    assert train_keys(header) == TRAIN_KEYS
    assert all(len(key) < 36 for key in header)
    printed = capsys.readouterr().out
    assert all(f"    {key.removeprefix('train/')} " in printed for key in TRAIN_KEYS)
    events = EventAccumulator(str(tmp_path))
    tags = events.Reload().Tags()["scalars"]
    assert train_keys(tags) == TRAIN_KEYS - {"train/n_updates"}
    assert [event.step for event in events.Scalars("train/actor_loss")] == [8, 12]


def test_tensorboard_runs_are_numbered_and_carry_the_name(tmp_path: Path) -> None:
    model = small_model(tensorboard_log=str(tmp_path))
    for reset in (True, True, False):
        model.learn(4, reset_num_timesteps=reset)
    assert {path.name for path in tmp_path.iterdir()} == {"TDAC_1", "TDAC_2"}


def test_progress_bar_reaches_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bar(list):
        update, refresh, close = list.append, list.copy, list.copy

        def __init__(self, total: int):
            super().__init__([-total])

    bars: list[Bar] = []
    monkeypatch.setattr(callbacks, "tqdm", lambda total: bars.append(Bar(total)) or bars[-1])
    small_model().learn(8, progress_bar=True)
    assert bars == [[-8, *8 * [1]]]


def test_episodes_are_counted_by_a_monitor_that_is_put_around() -> None:
    model = small_model(stats_window_size=2)
    rows = rows_of(model)
    model.learn(12, log_interval=1)
    assert [row["rollout/ep_len_mean"] for row in rows] == [3, 3, 3]
    assert rows[-1]["rollout/ep_rew_mean"] == 3.0
    assert len(model.ep_info_buffer) == 2  # of 4 episodes in 12 steps


class TwoTowers(nn.Module):
    """The custom network of SB3's documentation."""

    def __init__(self, features_dim: int):
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = 3, 5
        self.policy_net = nn.Sequential(nn.Linear(features_dim, 3), nn.ReLU())
        self.value_net = nn.Sequential(nn.Linear(features_dim, 5), nn.ReLU())

    def forward_actor(self, features: Tensor) -> Tensor:
        return self.policy_net(features)

    def forward_critic(self, features: Tensor) -> Tensor:
        return self.value_net(features)


class CustomPolicy(MlpPolicy):
    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = TwoTowers(self.features_dim)


def test_a_custom_policy_learns_with_both_of_its_networks(tmp_path: Path) -> None:
    model = small_model(policy=CustomPolicy)
    towers = model.policy.mlp_extractor
    before = [net[0].weight.clone() for net in (towers.policy_net, towers.value_net)]
    model.learn(8).save(tmp_path / "model")
    after = [net[0].weight for net in (towers.policy_net, towers.value_net)]
    assert not any(map(torch.equal, before, after))
    assert isinstance(TDAC.load(tmp_path / "model").policy.mlp_extractor, TwoTowers)


def test_actor_and_critic_have_the_optimizers_that_they_are_given() -> None:
    policy = small_model(
        policy_kwargs=dict(
            optimizer_class=torch.optim.AdamW,
            optimizer_kwargs=dict(weight_decay=0.25),
            critic_optimizer_class=torch.optim.SGD,
            critic_optimizer_kwargs=dict(momentum=0.5),
        )
    ).policy
    assert type(policy.optimizer) is torch.optim.AdamW
    assert type(policy.critic_optimizer) is torch.optim.SGD
    assert policy.optimizer.defaults["weight_decay"] == 0.25
    assert policy.critic_optimizer.defaults["momentum"] == 0.5


def test_the_default_optimizer_has_no_momentum_and_a_long_memory_of_squares() -> None:
    """Adam (Kingma and Ba, 2015) with beta 0 and 0.999: a gradient of 2, then one of 0."""
    for optimizer in (small_model().policy.optimizer, small_model().policy.critic_optimizer):
        optimizer.param_groups[0]["lr"] = 0.5
        bias = optimizer.param_groups[0]["params"][-1]
        start = bias.detach().clone()
        for gradient in (2.0, 0.0):
            bias.grad = torch.full_like(bias, gradient)
            optimizer.step()
            # the first step is 0.5 * 2 / sqrt(2 ** 2), whatever beta is; the second is none
            torch.testing.assert_close(bias.detach(), start - 0.5)
        square = optimizer.state[bias]["exp_avg_sq"]
        torch.testing.assert_close(square, torch.full_like(square, 0.999 * 0.001 * 2.0**2))


class Modal(BaseFeaturesExtractor):
    """Layers that differ between training and use, and the mode in which each call came."""

    def __init__(self, space: spaces.Box):
        super().__init__(space, features_dim=4)
        self.layers = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.modes: list[bool] = []

    def forward(self, obs: Tensor) -> Tensor:
        self.modes.append(self.training)
        return self.layers(obs)


def test_collection_and_predict_are_in_evaluation_mode_and_updates_in_training_mode() -> None:
    model = small_model(policy_kwargs=dict(features_extractor_class=Modal))
    extractor = model.policy.pi_features_extractor
    mean = extractor.layers[0].running_mean
    model.learn(4, Recorder(stop=4))
    actions = [model.predict(STATES, deterministic=True)[0] for _ in range(3)]
    assert (actions[0] == actions[1]).all() and (actions[0] == actions[2]).all()
    assert extractor.modes == 7 * [False] and not mean.any()
    model.learn(4)
    assert extractor.modes[7:11] == 4 * [False] and all(extractor.modes[11:]) and mean.any()


SCHEDULES = [
    (0.5, [0.5, 0.5, 0.5, 0.5]),
    (lambda progress: progress, [0.75, 0.5, 0.25, 0.0]),
    ("lin_0.5", [0.375, 0.25, 0.125, 0.0]),
]


@pytest.mark.parametrize(("actor", "actor_rates"), SCHEDULES)
@pytest.mark.parametrize(("critic", "critic_rates"), SCHEDULES)
def test_both_learning_rates_follow_their_schedules(
    actor: Any, actor_rates: list[float], critic: Any, critic_rates: list[float]
) -> None:
    rates = dict(learning_rate=actor, critic_learning_rate=critic)
    model, seen = small_model(**TEXTBOOK | rates), []
    for optimizer in (model.policy.critic_optimizer, model.policy.optimizer):
        optimizer.register_step_post_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
    model.learn(16)
    assert (seen[0::2], seen[1::2]) == (critic_rates, actor_rates)


def test_ent_coef_follows_its_schedule() -> None:
    def trained(ent_coef: Any) -> State:
        return state(small_model(**TEXTBOOK | dict(ent_coef=ent_coef)).learn(16))

    assert_identical(trained("lin_0.5"), trained(lambda progress: 0.5 * progress))
    assert differences(trained("lin_0.5"), trained(0.5))
