"""The files of an interrupted run: its newest whole model, episodes and evaluations."""

import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from stable_baselines3.common.callbacks import EvalCallback

from sb3_tdac.persistence import files


def newest_model(run: Path) -> tuple[Path, dict[str, Any]]:
    """Find the model that was trained longest, among the whole ones.

    :param run: folder of the run
    :return: its file and its plain settings
    :raises ValueError: if there is none, or it was trained to the end
    """
    (config,) = run.glob("*/config.yml")
    is_normalized = yaml.load(config.read_text(), yaml.UnsafeLoader).get("normalize")
    found = []
    for path in run.glob("*.zip"):
        try:
            with path.open("rb") as file:
                settings = files.settings(file, path)
            if is_normalized:
                check_statistics(statistics_of(path), settings["num_timesteps"])
            found.append((path, settings))
        except ValueError as error:
            warnings.warn(f"{path.name} is not resumed from: {error}", stacklevel=2)
    if not found:
        raise ValueError(f"there is no whole model in {run}: start anew, with --save-freq")
    path, settings = max(found, key=lambda pair: pair[1]["num_timesteps"])
    steps, planned = settings["num_timesteps"], settings["_total_timesteps"]
    if steps >= planned:
        raise ValueError(f"{run} is complete: {steps} of {planned} steps")
    return path, settings


def statistics_of(model: Path) -> Path:
    """Find the file of the normalization statistics that belong to a model.

    :param model: file of a model in its run's folder
    """
    if model.stem.startswith("rl_model_"):
        return model.with_name(f"{model.stem}.pkl".replace("model_", "model_vecnormalize_"))
    (config,) = model.parent.glob("*/config.yml")
    return config.with_name("vecnormalize.pkl")


def check_statistics(path: Path, steps: int) -> None:
    """Check that normalization statistics belong to a model.

    rl_zoo3 writes them after the model and in place, so a killed run may have older ones.

    :param steps: steps that the model was trained for
    :raises ValueError: if they are missing, damaged, or an earlier model's
    """
    try:
        seen = pickle.loads(path.read_bytes()).ret_rms.count
    except Exception as error:  # damaged bytes may raise any
        raise ValueError(f"{path} is missing or damaged ({type(error).__name__})") from error
    if seen < steps:
        raise ValueError(f"{path} is an earlier model's: it has seen {seen:.0f} of {steps} steps")


def cut_monitor(path: Path, time: float) -> None:
    """Remove the episodes that ended after a time: they will be played again.

    :param path: of a ``monitor.csv``
    :param time: in seconds since 1970
    """
    lines = path.read_text().splitlines(keepends=True)
    if len(lines) < 2:
        path.unlink()  # the run was killed before its first episode
        return
    start, columns = json.loads(lines[0][1:])["t_start"], lines[1].strip().split(",")
    at = columns.index("t")
    kept = [
        line
        for line in lines[2:]
        if line.endswith("\n") and start + float(line.split(",")[at]) <= time
    ]
    files.write(path, "".join([*lines[:2], *kept]).encode())


def restore_evaluations(callback: EvalCallback, steps: int) -> None:
    """Give a new callback the evaluations that the run has made.

    :param callback: with the file of the evaluations
    :param steps: later evaluations are left out, and will be made again
    """
    path = Path(f"{callback.log_path}.npz")
    if not path.is_file():
        return
    try:
        with np.load(path) as stored:
            found = {name: stored[name] for name in stored}
            before = found["timesteps"] <= steps
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(f"{path} is damaged, evaluations start anew: {error}", stacklevel=2)
        return
    results = found["results"][before]
    callback.evaluations_timesteps = found["timesteps"][before].tolist()
    callback.evaluations_results = results.tolist()
    callback.evaluations_length = found["ep_lengths"][before].tolist()
    if "successes" in found:
        callback.evaluations_successes = found["successes"][before].tolist()
    if len(results):
        callback.best_mean_reward = float(results.mean(axis=1).max())
