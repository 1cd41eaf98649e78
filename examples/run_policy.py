"""Runs exported policies with torch or onnxruntime alone, without SB3, gymnasium and TDAC.

    python examples/run_policy.py FOLDER

For the observations of each ``NAME.npz`` in the folder, it writes the actions of ``NAME.pt2`` and
``NAME.onnx`` to ``NAME.pt2.npy`` and ``NAME.onnx.npy``.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch

folder = Path(sys.argv[1])
for path in sorted(folder.glob("*.npz")):
    observations = np.load(path)["observations"]

    program = torch.export.load(path.with_suffix(".pt2")).module()
    actions = program(torch.from_numpy(observations)).numpy()
    np.save(folder / f"{path.stem}.pt2.npy", actions)

    session = onnxruntime.InferenceSession(path.with_suffix(".onnx"))
    (actions,) = session.run(["action"], {"observation": observations})
    np.save(folder / f"{path.stem}.onnx.npy", actions)

others = {"stable_baselines3", "gymnasium", "sb3_tdac"} & {*sys.modules}
assert not others, f"imported: {others}"
