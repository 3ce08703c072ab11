"""Clips as clouds of points, a frame each: how far apart they are, and how they look in a plane."""

import torch
from torch import Tensor

EXACT = "donot_use_mm_for_euclid_dist"  # cdist by differences: a frame is at 0 from itself


def distances(queries: Tensor, keys: Tensor) -> Tensor:
    """From each query (N, d) to the nearest key (M, d): (N,)."""
    return torch.cat([torch.cdist(some, keys, compute_mode=EXACT).amin(1) for some in queries.split(1024)])


def principal_components(rows: Tensor) -> Tensor:
    """(N, d) -> (N, 2) along the two directions of most variance, each pointing where its largest entry is positive."""
    centred = (rows - rows.mean(0)).double()
    _, directions = torch.linalg.eigh(centred.T @ centred)  # eigenvalues ascend
    axes = directions[:, [-1, -2]]
    return (centred @ (axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign())).float()
