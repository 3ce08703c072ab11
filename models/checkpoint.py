"""Read published checkpoints: tensors only, never code, and every key accounted for."""

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import WeightsError

# Training scripts leave numpy scalars (a best score, an epoch) beside the tensors; numpy 1 and 2 name them differently.
SCALARS = [
    (np.core.multiarray.scalar if np.__version__ < "2" else np._core.multiarray.scalar, name)
    for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
]
HARMLESS = [*SCALARS, np.dtype, *(type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "?"))]
SHOWN = 3  # keys named in an error


def read_checkpoint(path: Path) -> dict:
    """The content of a PyTorch file, on the processor.

    Raises:
        WeightsError: the file is missing, truncated, no checkpoint, or holds anything but tensors and plain values.
    """
    try:
        with torch.serialization.safe_globals(HARMLESS):
            content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; `snakemake weights` fetches it or says where to get it") from None
    except Exception as error:  # torch.load raises anything from UnpicklingError to RuntimeError
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it carries code ({code[1]})" if code else "truncated, or no PyTorch file"
        raise WeightsError(f"{path}: refused: {reason}; get it again from its authors") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a checkpoint; get it again")
    return content


def part(content: dict, name: str, path: Path) -> dict[str, Tensor]:
    """The state dict that a checkpoint keeps under a name."""
    if not isinstance(content.get(name), dict):
        there = ", ".join(sorted(map(str, content))[:SHOWN])
        raise WeightsError(f"{path}: has no '{name}' (it has {there}, ...); this is another network's file")
    return content[name]


def load_strictly(network: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Fill a network with a state dict and freeze it, in eval mode.

    A `module.` prefix and missing `num_batches_tracked` counters are tolerated; any other difference is an error.

    Raises:
        WeightsError: keys are missing or left over, a tensor has another shape, or a number is not finite.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    extra = [key for key in state if key not in wanted]
    if missing or extra:
        raise WeightsError(
            f"{path}: lacks {named(missing)}; has {named(extra)} too many; this is another network's file"
        )
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.shape != wanted[key].shape:
            have = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise WeightsError(f"{path}: {key} is {have}, expected {tuple(wanted[key].shape)}; another network's file")
        if not torch.isfinite(value).all():
            raise WeightsError(f"{path}: {key} is not finite; the file is damaged, get it again")
    network.load_state_dict(state, strict=False)
    return network.eval().requires_grad_(False)


def named(keys: list[str]) -> str:
    """The first few keys, and how many more."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return (", ".join(keys[:SHOWN]) or "nothing") + more
