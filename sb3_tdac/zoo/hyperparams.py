"""The hyperparameters of TDAC that a sweep draws, and their conversion to arguments."""

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    import optuna

#: Hyperparameters as rl_zoo3 reads them from its files and passes them to algorithms.
Hyperparams = dict[str, Any]
#: Std of the untrained actor, where the drawn bounds allow it: the constructor's default.
STD_INIT = 0.5
NET_ARCHS = {"tiny": [64], "small": [64, 64], "medium": [256, 256]}
ACTIVATION_FNS = {"tanh": nn.Tanh, "relu": nn.ReLU}


def sample_tdac_params(
    trial: "optuna.Trial", n_actions: int, n_envs: int, additional_args: Hyperparams
) -> Hyperparams:
    """Draw hyperparameters; every range contains the default.

    :param trial: draws them
    :param n_actions: dimensions of a ``Box`` action, zero for other spaces, which have no std
    :param n_envs: number of environments, not used
    :param additional_args: for rl_zoo3's off-policy algorithms, not used
    :return: arguments of ``TDAC``
    """
    one_minus_gamma = trial.suggest_float("one_minus_gamma", 0.001, 0.2, log=True)
    n_steps_pow = trial.suggest_int("n_steps_pow", 0, 6)
    params: Hyperparams = {
        "one_minus_gamma": one_minus_gamma,
        "n_steps_pow": n_steps_pow,
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "critic_learning_rate": trial.suggest_float("critic_learning_rate", 3e-4, 3e-2, log=True),
        "lr_schedule": trial.suggest_categorical("lr_schedule", ["linear", "constant"]),
        "actor_warmup": trial.suggest_float("actor_warmup", 0.0, 0.3),
        "critic_steps": trial.suggest_int("critic_steps", 1, 8, log=True),
        "ent_coef": trial.suggest_float("ent_coef", 1e-3, 1.0, log=True),
        "max_grad_norm": trial.suggest_float("max_grad_norm", 0.03, 3.0, log=True),
        "net_arch": trial.suggest_categorical("net_arch", list(NET_ARCHS)),
        "activation_fn": trial.suggest_categorical("activation_fn", list(ACTIVATION_FNS)),
    }
    for name in ("normalize_observation", "normalize_reward", "scale_advantage"):
        params[name] = trial.suggest_categorical(name, [True, False])
    if n_actions > 0:
        params["std_lower"] = trial.suggest_float("std_lower", 0.01, 0.3, log=True)
        params["std_upper"] = trial.suggest_float("std_upper", 0.3, 3.0, log=True)
    # Show the true values, as rl_zoo3's samplers do.
    trial.set_user_attr("gamma", 1 - one_minus_gamma)
    trial.set_user_attr("n_steps", 2**n_steps_pow)
    return convert_tdac_params(params)


def convert_tdac_params(sampled_params: Hyperparams) -> Hyperparams:
    """Convert what ``sample_tdac_params`` drew to arguments of ``TDAC``.

    :param sampled_params: ``trial.params``
    :return: arguments of ``TDAC``
    """
    params = sampled_params.copy()
    params["gamma"] = 1 - params.pop("one_minus_gamma")
    params["n_steps"] = 2 ** params.pop("n_steps_pow")
    if params.pop("lr_schedule") == "linear":
        for name in ("learning_rate", "critic_learning_rate"):
            params[name] = f"lin_{params[name]}"
    params["ent_coef"] = f"lin_{params['ent_coef']}"
    net_arch = NET_ARCHS[params.pop("net_arch")]
    policy_kwargs: Hyperparams = {
        "net_arch": {"pi": list(net_arch), "vf": list(net_arch)},
        "activation_fn": ACTIVATION_FNS[params.pop("activation_fn")],
    }
    if "std_lower" in params:
        std_bounds = (params.pop("std_lower"), params.pop("std_upper"))
        policy_kwargs["std_bounds"] = std_bounds
        policy_kwargs["std_init"] = min(STD_INIT, std_bounds[1])
    return {"policy_kwargs": policy_kwargs, **params}
