"""Sliders for a person's motion: each a direction in the motion's numbers, in units that people know, within the range
that the person's footage shows.

The face's directions have names because the places of the expression have: the lips, brows and lids of
models.face_parameters. Each name is a measure, such as the gap of the lips. How all numbers go along when one measure
changes and the others stay is taken from the person's own footage, so that a smile is theirs.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.face_parameters import BROWS, LIDS, PLACES
from pipeline.motion import JAW, Motion

WIDER = 0.25  # of the footage's range, added at both ends: Stage II learns more than the footage shows
RARE = 0.01  # part of the frames beyond the range's ends
LEAST = {"deg": 8.0, "%": 10.0, "face": 1.0}  # smallest end of a slider, by kind; a person who never moved so still can
RIDGE = 0.05  # of the measures' mean square: how far a measure that hardly changes is drawn to its own points alone
UPPER_LIDS, LOWER_LIDS = LIDS[0::2], LIDS[1::2]
CORNERS, UPPER_LIP, LOWER_LIP = (61, 291), (13, 82, 312), (14, 87, 317)  # of the lips, the two last ones inside


@dataclass(frozen=True)
class Slider:
    id: str
    group: str
    name: str
    unit: str
    low: float  # at most 0: the slider adds to what drives the portrait
    high: float
    direction: dict[str, list[float]]  # what one unit adds to each kind of motion


def sliders(motion: Motion, still: Motion, named: bool, positioned: bool) -> list[Slider]:
    """The sliders of a person.

    Args:
        motion: of their footage, (N, d).
        still: their neutral, (1, d).
        named: the expression's numbers are those of models.face_parameters; else the first ones have numbers for names.
        positioned: the portrait takes the face's position.
    """
    found = [
        angle("yaw", "Head", "Turn", "pose", 1, motion, still),
        angle("pitch", "Head", "Nod", "pose", 0, motion, still),
        angle("roll", "Head", "Tilt", "pose", 2, motion, still),
        *(faces(motion) if named else numbered(motion, still)),
        angle("look_across", "Eyes", "Left and right", "gaze", 0, motion, still, sign=-1),
        angle("look_up", "Eyes", "Down and up", "gaze", 1, motion, still),
    ]
    if positioned:
        found += [
            shift("across", "Left and right", 0, 0.02, motion, still),
            shift("down", "Up and down", 1, 0.02, motion, still),
            shift("size", "Far and near", 2, still["position"][0, 2].item() / 100, motion, still),
        ]
    return found


def angle(
    id: str, group: str, name: str, kind: str, place: int, motion: Motion, still: Motion, sign: int = 1
) -> Slider:
    """One number of the motion, in degrees."""
    degree = sign * math.pi / 180
    low, high = ends((motion[kind][:, place] - still[kind][0, place]) / degree, "deg")
    return Slider(id, group, name, "°", low, high, {kind: unit(motion[kind].shape[1], place, degree)})


def shift(id: str, name: str, place: int, step: float, motion: Motion, still: Motion) -> Slider:
    """One number of the position, in percent of the picture or of the face's size."""
    low, high = ends((motion["position"][:, place] - still["position"][0, place]) / step, "%")
    return Slider(id, "Place", name, " %", low, high, {"position": unit(3, place, step)})


def numbered(motion: Motion, still: Motion) -> list[Slider]:
    """The jaw, and the first numbers of an expression whose places have no names: those of DECA come in order of their
    share."""
    many = motion["expression"].shape[1]
    found = [angle("jaw", "Head", "Jaw", "pose", 3, motion, still)]
    for place in range(4):
        low, high = ends(motion["expression"][:, place] * 10, "%")
        direction = {"expression": unit(many, place, 0.1)}
        found.append(Slider(f"expression_{place + 1}", "Face", f"Expression {place + 1}", "", low, high, direction))
    return found


def faces(motion: Motion) -> list[Slider]:
    """Mouth, smile, brows and blink, in percent of the most that the footage shows. The jaw goes with the mouth: it is
    read off the same points, and alone would contradict them."""
    names = {"mouth": "Mouth open", "smile": "Smile", "brows": "Brows up", "blink": "Blink"}
    weights = measures()  # (50, 4)
    steps = directions(motion, weights)  # (4, 53)
    scores = motion["expression"] @ weights
    found = []
    for k, (id, name) in enumerate(names.items()):
        low, high = ends(scores[:, k], "face")
        direction = {"expression": steps[k, :50] * high / 100, "pose": torch.zeros(6)}
        direction["pose"][JAW] = steps[k, 50:] * high / 100
        listed = {kind: values.tolist() for kind, values in direction.items()}
        found.append(Slider(id, "Face", name, " %", low / high * 100, 100, listed))
    return found


def measures() -> Tensor:
    """(50, 4): opening of the lips, widening and lifting of their corners, lift of the brows, closing of the lids; each
    a mean of points' shifts, in the expression's unit."""
    return torch.stack(
        [
            mean(LOWER_LIP, 1) - mean(UPPER_LIP, 1),
            (mean(CORNERS[1:], 0) - mean(CORNERS[:1], 0)) / 2 - mean(CORNERS, 1) + mean((*UPPER_LIP, *LOWER_LIP), 1),
            -mean(BROWS, 1),
            mean(UPPER_LIDS, 1) - mean(LOWER_LIDS, 1),
        ],
        1,
    )


def mean(points: tuple, axis: int) -> Tensor:
    """(50,): weights of the mean of these mesh points' x (0) or y (1)."""
    weights = torch.zeros(2 * len(PLACES))
    weights[[PLACES[point][axis] for point in points]] = 1 / len(points)
    return weights


def directions(motion: Motion, weights: Tensor) -> Tensor:
    """How expression and jaw change when one measure rises by 1 and the others stay, (measures, 50 + 3).

    Least squares over the footage, drawn by RIDGE to the shortest change of the measures' own points; a step along one
    direction is 1 in its measure and 0 in the others, exactly.
    """
    moving = torch.cat([motion["expression"], motion["pose"][:, JAW]], 1)
    scores = motion["expression"] @ weights
    shortest = torch.cat([torch.linalg.pinv(weights), torch.zeros(weights.shape[1], 3)], 1)
    square = scores.T @ scores
    ridge = RIDGE * square.trace() / len(square) * torch.eye(len(square))
    return torch.linalg.solve(square + ridge, scores.T @ moving + ridge @ shortest)


def ends(values: Tensor, kind: str) -> tuple[float, float]:
    """Lowest and highest value of a slider: the footage's range, WIDER."""
    low, high = values.quantile(torch.tensor([RARE, 1 - RARE])).tolist()
    more = WIDER * (high - low)
    return min(low - more, -LEAST[kind]), max(high + more, LEAST[kind])


def unit(width: int, place: int, step: float) -> list[float]:
    return [step if at == place else 0.0 for at in range(width)]
