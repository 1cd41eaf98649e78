"""Actor and critic: two networks that share nothing by default, each with its own optimizer."""

import inspect
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common import torch_layers
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim, preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from sb3_tdac.aliases import Array, Kwargs, Space
from sb3_tdac.distributions import DiagGaussian
from sb3_tdac.normalization import ObservationNormalizer, RunningMeanStd
from sb3_tdac.optimizers import default_optimizer_kwargs, make_optimizer
from sb3_tdac.validation import check_bool, check_extractor, check_std


class TDACPolicy(ActorCriticPolicy):
    """The actor mu(x), sigma(x) of (4.24) and the critic V(x), SB3's networks with two optimizers.

    For a ``Box`` the actor gives a mean and a std for each state, in *policy units*: with
    ``scale_actions`` and a bounded ``Box``, -1 and 1 are the bounds of the action and the mean goes
    through tanh; otherwise these are the environment's units and the mean is linear. Actions of
    ``predict`` and ``unscale_action`` are in the environment's units. Other spaces have SB3's own
    distributions.

    :param observation_space: space of one observation
    :param action_space: space of one action
    :param lr_schedule: learning rate of the actor, a function of the remaining progress
    :param critic_lr_schedule: learning rate of the critic; ``None``: the actor's
    :param net_arch: hidden layers; ``dict(pi=[...], vf=[...])`` or a list for both
    :param activation_fn: activation of the hidden layers
    :param ortho_init: orthogonal initialization with SB3's gains
    :param features_extractor_class: network from observations to features
    :param features_extractor_kwargs: its arguments
    :param share_features_extractor: the actor uses the critic's extractor, which then learns from
        the critic's loss alone
    :param normalize_images: divide images by 255
    :param normalize_observation: shift and divide observations by their running mean and std, which
        are saved with the policy; images and discrete observations stay as they are
    :param optimizer_class: optimizer of the actor
    :param optimizer_kwargs: its arguments without the learning rate; ``None``: for Adam no momentum
        (``betas=(0.0, 0.999)``, ``eps=1e-5``), for RMSprop ``alpha=0.99`` and ``eps=1e-5``
    :param critic_optimizer_class: optimizer of the critic; ``None``: the actor's
    :param critic_optimizer_kwargs: its arguments without the learning rate
    :param std_bounds: lower and upper bound of the std; the upper may be infinite
    :param std_init: std of the untrained actor
    :param scale_actions: use the units of the action space's range
    :raises ValueError: if ``std_bounds`` or ``std_init`` are out of range
    """

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        lr_schedule: Schedule,
        critic_lr_schedule: Schedule | None = None,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        ortho_init: bool = True,
        features_extractor_class: type[BaseFeaturesExtractor] = torch_layers.FlattenExtractor,
        features_extractor_kwargs: Kwargs | None = None,
        share_features_extractor: bool = False,
        normalize_images: bool = True,
        normalize_observation: bool = True,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: Kwargs | None = None,
        critic_optimizer_class: type[torch.optim.Optimizer] | None = None,
        critic_optimizer_kwargs: Kwargs | None = None,
        std_bounds: tuple[float, float] = (0.2, 0.7),
        std_init: float = 0.5,
        scale_actions: bool = True,
    ):
        check_extractor(observation_space, features_extractor_class, normalize_images)
        check_std(std_bounds, std_init)
        check_bool("scale_actions", scale_actions)
        check_bool("share_features_extractor", share_features_extractor)
        critic_optimizer_class = critic_optimizer_class or optimizer_class
        if optimizer_kwargs is None:
            optimizer_kwargs = default_optimizer_kwargs(optimizer_class)
        if critic_optimizer_kwargs is None and critic_optimizer_class is optimizer_class:
            critic_optimizer_kwargs = optimizer_kwargs
        elif critic_optimizer_kwargs is None:
            critic_optimizer_kwargs = default_optimizer_kwargs(critic_optimizer_class)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=net_arch,
            activation_fn=activation_fn,
            ortho_init=ortho_init,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=dict(features_extractor_kwargs or {}),
            share_features_extractor=share_features_extractor,
            normalize_images=normalize_images,
            # a partial in the place of a class: SB3 only calls it
            optimizer_class=partial(make_optimizer, optimizer_class),  # type: ignore[arg-type]
            optimizer_kwargs=optimizer_kwargs,
        )
        self.optimizer_class = optimizer_class
        self.critic_optimizer_class = critic_optimizer_class
        self.critic_optimizer_kwargs = critic_optimizer_kwargs
        self.std_bounds, self.std_init, self.scale_actions = std_bounds, std_init, scale_actions
        self.normalize_observation = normalize_observation
        if normalize_observation:
            self.observation_normalizer = ObservationNormalizer(observation_space)
        if isinstance(action_space, spaces.Box):
            self._build_gaussian(action_space)
        self._build_optimizers(lr_schedule, critic_lr_schedule or lr_schedule)

    def _build_gaussian(self, action_space: spaces.Box) -> None:
        """Replace A2C's single std by a std for each state."""
        del self.log_std
        action_dist = DiagGaussian(get_action_dim(action_space))
        self.std_net = action_dist.proba_distribution_net(
            self.mlp_extractor.latent_dim_pi, self.std_init
        )
        # with an axis for the environments, as the actions have
        self._low, self._high = action_space.low[None], action_space.high[None]
        with np.errstate(over="ignore", invalid="ignore"):  # bounds may be the largest floats
            self.half_range = 0.5 * (self._high - self._low)
            self.middle = self._low + self.half_range
        self._squash_output = self.scale_actions and bool(np.isfinite(self.half_range).all())

    def _build_optimizers(self, lr_schedule: Schedule, critic_lr_schedule: Schedule) -> None:
        actor = list(self.actor_modules().parameters())
        critic = list(self.critic_modules().parameters())
        if {*actor} & {*critic} or {*actor, *critic} != {*self.parameters()}:
            raise ValueError(
                "every parameter of the policy must belong to either actor_modules() or "
                "critic_modules(): override them to fit your networks"
            )
        self.optimizer = make_optimizer(
            self.optimizer_class, actor, lr=lr_schedule(1), **self.optimizer_kwargs
        )
        critic_rate = critic_lr_schedule(1)
        self.critic_optimizer = make_optimizer(
            self.critic_optimizer_class, critic, lr=critic_rate, **self.critic_optimizer_kwargs
        )

    def actor_modules(self) -> nn.ModuleList:
        r"""The modules whose parameters are $\theta$, stepped by ``optimizer``.

        A policy with its own ``mlp_extractor`` names its networks ``policy_net`` and ``value_net``,
        as in SB3's guide, or overrides this method and ``critic_modules``.
        """
        modules = [self.mlp_extractor.policy_net, self.action_net]
        if isinstance(self.action_space, spaces.Box):
            modules.append(self.std_net)
        if not self.share_features_extractor:
            modules.append(self.pi_features_extractor)
        return nn.ModuleList(modules)

    def critic_modules(self) -> nn.ModuleList:
        r"""The modules whose parameters are $\phi$, stepped by ``critic_optimizer``."""
        return nn.ModuleList(
            [self.vf_features_extractor, self.mlp_extractor.value_net, self.value_net]
        )

    def has_modes(self) -> bool:
        """Whether a layer may differ between training and evaluation."""
        return not all(type(module) in MODELESS for module in self.modules())

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        r"""$\pi_\theta(\cdot | x)$.

        :param obs: B observations
        :return: distribution of B actions, in policy units
        """
        latent = self._actor_latent(obs)
        if not isinstance(self.action_space, spaces.Box):
            return self._get_action_dist_from_latent(latent)
        mean, std = self._mean_and_std(latent)
        return DiagGaussian(mean.shape[1]).proba_distribution(mean, std)

    def sample(self, obs: PyTorchObs, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw actions from $\pi_\theta(\cdot | x)$, as ``get_distribution(obs).sample()`` does.

        It builds no distribution, because that takes longer than the draw.

        :param obs: B observations
        :param generator: random generator; ``None``: torch's global one, which a subclass with its
            own ``get_distribution`` uses in any case
        :return: (B, A) or (B,), in policy units
        """
        if type(self).get_distribution is not TDACPolicy.get_distribution:
            return self.get_distribution(obs).sample()
        latent = self._actor_latent(obs)
        if isinstance(self.action_space, spaces.Box):
            return torch.normal(*self._mean_and_std(latent), generator=generator)
        logits: Tensor = self.action_net(latent)
        if isinstance(self.action_space, spaces.MultiBinary):
            return logits.sigmoid().bernoulli(generator=generator)
        if isinstance(self.action_space, spaces.MultiDiscrete):
            parts = torch.split(logits, self.action_space.nvec.tolist(), dim=1)
            return torch.cat([_draw(part, generator) for part in parts], dim=1)
        return _draw(logits, generator).flatten()

    def action_outputs(self, obs: PyTorchObs) -> Tensor:
        """Outputs of ``action_net``: the means before tanh, or the logits.

        :param obs: B observations
        :return: (B, number of outputs)
        """
        outputs: Tensor = self.action_net(self._actor_latent(obs))
        return outputs

    def _actor_latent(self, obs: PyTorchObs) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.share_features_extractor):
            features = self.extract_features(obs, self.pi_features_extractor)
        latent: Tensor = self.mlp_extractor.forward_actor(features)
        return latent

    def _mean_and_std(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.action_net(latent)
        if self.squash_output:
            mean = mean.tanh()
        return mean, nn.functional.softplus(self.std_net(latent)).clamp(*self.std_bounds)

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        r"""$V_\phi(x)$.

        :param obs: B observations
        :return: (B, 1)
        """
        features = self.extract_features(obs, self.vf_features_extractor)
        values: Tensor = self.value_net(self.mlp_extractor.forward_critic(features))
        return values

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Action, value and log-density of the action.

        :param obs: B observations
        :param deterministic: take the most likely action
        :return: (B, *action shape) in policy units, (B, 1), (B,)
        """
        distribution = self.get_distribution(obs)
        actions = distribution.get_actions(deterministic)
        log_prob = distribution.log_prob(actions)
        shape = self.action_space.shape or ()
        return actions.reshape(-1, *shape), self.predict_values(obs), log_prob

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Value, log-density and entropy.

        :param obs: B observations
        :param actions: (B, *action shape) or (B, A), as sampled
        :return: (B, 1), (B,), (B,)
        """
        distribution = self.get_distribution(obs)
        log_prob = distribution.log_prob(self._flatten_actions(actions))
        return self.predict_values(obs), log_prob, distribution.entropy()

    def unscale_action(self, scaled_action: Array) -> Array:
        """Convert actions to the units of the environment, and clip them to its bounds.

        :param scaled_action: (B, *action shape) action as sampled
        :return: (B, *action shape) action in the action space; the same if that is no ``Box``
        """
        if not isinstance(self.action_space, spaces.Box):
            return scaled_action
        if self.squash_output:
            scaled_action = scaled_action * self.half_range + self.middle
        clipped: Array = np.minimum(np.maximum(scaled_action, self._low), self._high)
        return clipped

    def _flatten_actions(self, actions: Tensor) -> Tensor:
        if isinstance(self.action_space, spaces.Discrete):
            return actions.long().flatten()
        actions = actions.reshape(len(actions), -1)
        return actions.float() if isinstance(self.action_space, spaces.MultiBinary) else actions

    def extract_features(  # type: ignore[override]
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor
    ) -> Tensor:
        """Preprocess, normalize, and extract.

        :param obs: B observations
        :param features_extractor: ``pi_features_extractor`` or ``vf_features_extractor``
        :return: (B, features_dim)
        """
        obs = self._preprocess(obs)
        if self.normalize_observation:
            obs = self.observation_normalizer(obs)
        features: Tensor = features_extractor(obs)
        return features

    def update_observation_stats(self, obs: PyTorchObs) -> None:
        """Update the running mean and std of the observations, if the policy has them.

        :param obs: B observations
        """
        if self.normalize_observation:
            self.observation_normalizer.update(self._preprocess(obs))

    def _preprocess(self, obs: PyTorchObs) -> Any:
        return preprocess_obs(obs, self.observation_space, normalize_images=self.normalize_images)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """Arguments for ``policy.save``, which builds the policy again when loaded."""
        names = inspect.signature(TDACPolicy).parameters
        arguments = {name: getattr(self, name) for name in names if "lr_schedule" not in name}
        return arguments | dict(lr_schedule=self._dummy_schedule)  # it is for training only


class TDACCnnPolicy(TDACPolicy):
    """``TDACPolicy`` for images, with SB3's ``NatureCNN``.

    :param args: the spaces and the learning rate schedule, as ``TDACPolicy``
    :param kwargs: the other arguments of ``TDACPolicy``
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"features_extractor_class": torch_layers.NatureCNN, **kwargs})


class TDACMultiInputPolicy(TDACPolicy):
    """``TDACPolicy`` for dict observations, with SB3's ``CombinedExtractor``.

    :param args: the spaces and the learning rate schedule, as ``TDACPolicy``
    :param kwargs: the other arguments of ``TDACPolicy``
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(
            *args, **{"features_extractor_class": torch_layers.CombinedExtractor, **kwargs}
        )


MlpPolicy, CnnPolicy, MultiInputPolicy = TDACPolicy, TDACCnnPolicy, TDACMultiInputPolicy
#: Layers without a difference between training and evaluation.
MODELESS = (
    *(nn.Linear, nn.Conv2d, nn.Tanh, nn.ReLU, nn.ELU, nn.Flatten, nn.Sequential, nn.ModuleDict),
    *(torch_layers.FlattenExtractor, torch_layers.NatureCNN),
    *(torch_layers.CombinedExtractor, torch_layers.MlpExtractor),
    *(TDACPolicy, CnnPolicy, MultiInputPolicy, ObservationNormalizer, RunningMeanStd),
)


def _draw(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    return logits.softmax(dim=1).multinomial(1, generator=generator)
