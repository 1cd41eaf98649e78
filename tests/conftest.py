"""One torch thread: on networks this small a second one costs more than it brings."""

import torch

torch.set_num_threads(1)
