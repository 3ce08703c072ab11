"""Training in several processes, one per GPU, started by torchrun: each takes its part of every batch.

Gradients are averaged over the processes, so a step is the single process's step up to rounding. One process, with or
without a GPU, runs the same code and none of this has any effect.
"""

import atexit
import os
from collections.abc import Collection

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import InputError


def join(place: torch.device) -> torch.device:
    """Join torchrun's other processes, if it started this one; gives the device of this one.

    Raises:
        InputError: there are more processes than GPUs on this machine.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        return place
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if place.index >= torch.cuda.device_count():
            raise InputError(
                f"{os.environ['LOCAL_WORLD_SIZE']} training processes for {torch.cuda.device_count()} GPUs; lower "
                "`processes` in the config"
            )
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    atexit.register(dist.destroy_process_group)
    return place


def is_first() -> bool:
    """Whether this process writes the files and the log."""
    return not dist.is_initialized() or dist.get_rank() == 0


def part(index: Tensor) -> Tensor:
    """This process's part of a batch's indices (B,).

    Raises:
        InputError: the batch cannot be divided evenly.
    """
    if not dist.is_initialized():
        return index
    if len(index) % dist.get_world_size():
        raise InputError(
            f"{len(index)} images cannot be divided among {dist.get_world_size()} processes; change `batch` in the "
            "config (Stage II divides its two halves)"
        )
    return index[dist.get_rank() :: dist.get_world_size()]


def average_gradients(optimisers: Collection[torch.optim.Optimizer]) -> None:
    """Make the gradient of everything that is optimised the mean of all processes' gradients."""
    if dist.is_initialized():
        groups = [group for optimiser in optimisers for group in optimiser.param_groups]
        parameters = [parameter for group in groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for gradient, mean in zip(gradients, mean_of_processes(gradients), strict=True):
            gradient.copy_(mean)


def mean_of_processes(values: list[Tensor]) -> list[Tensor]:
    """The mean of each tensor over the processes, in one exchange."""
    if not dist.is_initialized():
        return values
    flat = torch.cat([value.detach().flatten().float() for value in values])
    dist.all_reduce(flat)
    parts = (flat / dist.get_world_size()).split([value.numel() for value in values])
    return [part.view(value.shape) for part, value in zip(parts, values, strict=True)]
