"""Motion parameters of a clip: what drives a portrait. Loading, transfer between people, nearest neighbours."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipeline import stores
from pipeline.errors import InputError

Motion = dict[str, Tensor]  # name -> (N, d) float32; pose 6, expression 50, gaze 2, position 3
Transfer = Literal["relative", "direct"]
WIDTHS = {"pose": 6, "expression": 50, "gaze": 2, "position": 3}


def load_motion(face: Path, gaze: Path) -> tuple[Motion, Tensor]:
    """Read a clip's motion and its validity mask (N,) bool from its stores."""
    face_store, gaze_store = stores.read_face(face), stores.read_gaze(gaze)
    if len(face_store.pose) != len(gaze_store.gaze):
        raise InputError(f"{gaze}: {len(gaze_store.gaze)} frames where {face} has {len(face_store.pose)}; delete both")
    arrays = {name: getattr(face_store, name) for name in ("pose", "expression", "position")} | {
        "gaze": gaze_store.gaze
    }
    motion = {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}
    return motion, torch.from_numpy(face_store.valid)


def take(motion: Motion, index: Tensor | slice) -> Motion:
    """The frames of `index`."""
    return {name: value[index] for name, value in motion.items()}


def join(motions: list[Motion]) -> Motion:
    """One motion after the other."""
    return {name: torch.cat([motion[name] for motion in motions]) for name in motions[0]}


def to(motion: Motion, device: torch.device) -> Motion:
    return {name: value.to(device) for name, value in motion.items()}


def neutral(motion: Motion) -> Motion:
    """How the person is most of the time: (1, d) medians. The expression's neutral is zero already, by the tracker."""
    medians = {name: value.median(0, keepdim=True).values for name, value in motion.items()}
    return medians | {"expression": torch.zeros_like(medians["expression"])}


def transferred(motion: Motion, own: Motion, target: Motion, how: Transfer) -> Motion:
    """The driver's motion as the target's parameters.

    Args:
        motion: the driver's, (N, d).
        own, target: `neutral` of driver and target.
        how: "direct" gives the driver's coefficients as they are (the paper); "relative" keeps each person's neutral:
            the driver's departures from their own are added to the target's, shifts measured in face sizes.
    """
    if how == "direct":
        return motion
    shift = {name: motion[name] - own[name] + target[name] for name in ("pose", "expression", "gaze")}
    ratio = target["position"][:, 2:] / own["position"][:, 2:]
    centre = (motion["position"][:, :2] - own["position"][:, :2]) * ratio + target["position"][:, :2]
    return shift | {"position": torch.cat([centre, motion["position"][:, 2:] * ratio], 1)}


def nearest(queries: Motion, keys: Motion) -> Tensor:
    """For each query the index of the nearest key frame, (N,): the texture frame t of eq. 4.

    Distance over pose, expression and gaze, each standardised by the keys and weighted by its number of dimensions,
    so that fifty expression values do not swamp the pose.
    """

    def standardised(motion: Motion) -> Tensor:
        parts = []
        for name in ("pose", "expression", "gaze"):
            mean, spread = keys[name].mean(0), keys[name].std(0).clamp_min(1e-4)
            parts.append((motion[name] - mean) / spread / motion[name].shape[1] ** 0.5)
        return torch.cat(parts, 1)

    key_rows = standardised(keys)
    return torch.cat([torch.cdist(rows, key_rows).argmin(1) for rows in standardised(queries).split(1024)])
