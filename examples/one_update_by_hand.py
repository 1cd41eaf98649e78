"""Prints one update of TDAC on four transitions, every number beside its equation.

The update is made twice from the same rollout: here, from equations.py with plain gradient
descent, and by ``TDAC.train``. The last line compares them.

python examples/one_update_by_hand.py
"""

import copy

import torch
from torch import Tensor

from sb3_tdac import TDAC, TEXTBOOK, equations

ALPHA, CRITIC_RATE, GAMMA = 0.01, 0.1, 0.9


class RolloutOnly(TDAC):
    """Collects transitions; ``main`` makes the update."""

    def train(self) -> None:
        pass


def row(title: str, values: Tensor) -> None:
    print(f"{title:<48}" + "".join(f"{value:>9.4f}" for value in values.flatten().tolist()))


def descend(title: str, loss: Tensor, modules: dict[str, torch.nn.Module], rate: float) -> None:
    """Subtract rate times the gradient from each parameter, and print the biases."""
    parameters = dict(torch.nn.ModuleDict(modules).named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        before = parameter.detach().clone()
        parameter.data -= rate * gradient
        if name.endswith("bias"):
            row(
                f"{title} ({name}) before, gradient, after",
                torch.cat([before, gradient, parameter]),
            )


def main() -> None:
    torch.set_num_threads(1)
    linear = TEXTBOOK["policy_kwargs"] | dict(net_arch=[], optimizer_class=torch.optim.SGD)
    settings = TEXTBOOK | dict(policy_kwargs=linear, critic_learning_rate=CRITIC_RATE)
    model = RolloutOnly(
        "MlpPolicy", "Pendulum-v1", ALPHA, n_steps=4, gamma=GAMMA, seed=0, **settings
    )
    model.learn(4)
    batch = model.rollout_buffer.rows().to(model.device)
    policy = copy.deepcopy(model.policy)

    def values() -> tuple[Tensor, Tensor]:
        value = policy.predict_values(batch.states).flatten()
        return value[:4], value[batch.successor]

    print("Pendulum-v1, four transitions, linear actor and critic, gamma = 0.9")
    row("u, action as sampled", batch.action)
    row("r(x, u)", batch.reward)
    row("terminated (the time limit is none)", batch.terminated)

    value, next_value = values()
    row("V(x)", value)
    row("V(x')", next_value)
    target = equations.td_target(batch.reward, batch.terminated, next_value, GAMMA)
    row("(4.19) target r + gamma V(x')", target)
    critic_loss = equations.critic_loss(value, target)
    row("(4.20) critic loss", critic_loss)
    descend("       phi", critic_loss, {"V": policy.value_net}, CRITIC_RATE)

    value, next_value = values()
    target = equations.td_target(batch.reward, batch.terminated, next_value, GAMMA)
    advantage = equations.td_advantage(value, target)
    row("(4.21) advantage, from the updated critic", advantage)
    distribution = policy.get_distribution(batch.state)
    row("(4.24) mu(x)", distribution.mean)
    row("(4.24) sigma(x)", distribution.std)
    log_prob = equations.gaussian_log_prob(batch.action, distribution.mean, distribution.std)
    row("(4.26) log pi(u | x)", log_prob)
    actor_loss = equations.actor_loss(log_prob, advantage)
    row("(4.22) actor loss", actor_loss)
    actor = {"mu": policy.action_net, "sigma": policy.std_net}
    descend("(4.23) theta", actor_loss, actor, ALPHA)

    TDAC.train(model)
    difference = policy.parameters_to_vector() - model.policy.parameters_to_vector()
    print(f"largest difference from the update of TDAC.train: {abs(difference).max():.1e}")


if __name__ == "__main__":
    main()
