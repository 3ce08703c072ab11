"""What the independent ResNets of the tests are made of: entries of a state dict, and a layer of plain operations."""

import numpy as np
import torch
import torch.nn.functional as F


def convolution(name, out, inside, kernel, norm):
    """The entries of a convolution and of the batch norm after it."""
    shapes = {f"{name}.weight": (out, inside, kernel, kernel), f"{norm}.num_batches_tracked": ()}
    return shapes | {f"{norm}.{key}": (out,) for key in ("weight", "bias", "running_mean", "running_var")}


def random_entry(name, shape, generator):
    """Weights that keep activations near one, and batch-norm statistics that matter."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    if len(shape) > 1:
        return torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
    if name.endswith(("running_var", "weight")):
        return 0.5 + 0.5 * torch.rand(shape, generator=generator)
    return 0.1 * torch.randn(shape, generator=generator)


def convolved(state, prefix, x, conv, norm, stride=1, padding=1):
    """A convolution without bias and the batch norm after it, in eval mode."""
    x = F.conv2d(x, state[f"{prefix}.{conv}.weight"], stride=stride, padding=padding)
    mean, var, weight, bias = (
        state[f"{prefix}.{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)
