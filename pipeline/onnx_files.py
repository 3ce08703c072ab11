"""Networks as ONNX files: written from torch, and run again to see that both say the same."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.files import whole

ERRORS_ONLY = 3  # onnxruntime's level of its log


def save_onnx(
    path: Path,
    network: nn.Module,
    inputs: dict[str, Tensor],
    outputs: list[str],
    about: dict[str, str],
    batch: str | None = None,
) -> None:
    """Write a network as one file, its weights inside.

    Args:
        network: in eval mode; called with the inputs in their order.
        inputs: name and example of each.
        outputs: names of what it returns, in order.
        about: the file's metadata.
        batch: name of the inputs' first dimension where that may vary; the example then has more than one row.
    """
    values = tuple(inputs.values())
    free = tuple({0: torch.export.Dim(batch)} for _ in values) if batch else None
    with torch.no_grad(), _without_talk():
        network(*values)  # what is made once and kept must not be made while tracing
        program = torch.export.export(network, values, dynamic_shapes=free)
        if LACKING.keys() & {node.target for node in program.graph.nodes}:
            program = program.run_decompositions(torch.export.default_decompositions() | LACKING)
        model = torch.onnx.export(
            program, input_names=list(inputs), output_names=outputs, external_data=False, verbose=False
        )
    model.model.metadata_props.update(about)
    with whole(path) as temporary:
        model.save(temporary)


def open_onnx(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """A file's network, run by the processor.

    Args:
        threads: 0: one per core.

    Raises:
        InputError: the file is missing or no network.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each reason
        raise InputError(f"{path}: no readable ONNX file ({type(error).__name__}); delete it and run again") from None


def run_onnx(session: onnxruntime.InferenceSession, inputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """What the network returns, by name."""
    values = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return dict(zip((output.name for output in session.get_outputs()), values, strict=True))


# Operators that ONNX lacks, by those it has


def _median_of(values: Tensor, axis: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """torch.median along an axis: the lower of the two in the middle, and its place."""
    ordered, places = values.sort(axis)
    middle = (values.shape[axis] - 1) // 2
    found = ordered.narrow(axis, middle, 1), places.narrow(axis, middle, 1)
    return found if keepdim else (found[0].squeeze(axis), found[1].squeeze(axis))


def _inverse(matrix: Tensor) -> Tensor:
    """(3, 3) by Cramer's rule."""
    if matrix.shape != (3, 3):
        raise NotImplementedError(f"inverse of a matrix of shape {tuple(matrix.shape)}")
    a, b, c = matrix
    columns = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1)
    return columns / (a * columns[:, 0]).sum()


LACKING = {
    torch.ops.aten.median.dim: _median_of,
    torch.ops.aten.median.default: lambda values: _median_of(values.flatten(), 0)[0],
    torch.ops.aten.linalg_inv.default: _inverse,
}


@contextmanager
def _without_talk() -> Iterator[None]:
    """The exporter tells its own developers much that no user can act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
