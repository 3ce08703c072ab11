"""Face mesh to parameters: 478 landmarks -> pose, expression, position and gaze; differentiable, so it serves eq. 5.

Image axes: x right, y down, z away from the viewer. The mesh of a person at rest, seen from the front, is the
*neutral*: eye corners one unit apart, their midpoint at the origin. Lengths in it are eye distances (about 9 cm).

Head pose is a scaled orthographic fit of the neutral to the 2-D landmarks of points that neither lips, jaw nor
brows move. The network's own depth is left out: it hardly follows a turning head, which made yaw a quarter too
small. Depth comes from one generic face instead, `face_reference.npy`. Its x and y are the symmetrised mesh of two
portraits. Its z is how far each mesh point was seen to shift in video as heads turned, scaled by 0.93 to give the
nose its true length; the outline of the cheeks slides along the visible contour, so its depth is a third less than
the network states. It is tilted by 9 degrees, so that pose 0 is how people hold their heads before a camera.
"""

import math
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.crop_units import crop_units

REFERENCE = Path(__file__).parent / "face_reference.npy"  # (478, 3)

# Points of the skull as far as a face shows them, by weight in the fit of the head pose. The nose's tip is not among
# them, as smiles pull at it; eye corners count less, as they stir in blinks; so do contours, which the jaw drags along.
STABLE_WEIGHTS = {
    **dict.fromkeys((168, 6, 197, 195), 1.0),  # bridge of the nose
    **dict.fromkeys((33, 133, 362, 263), 0.3),  # eye corners
    **dict.fromkeys((117, 346, 118, 347, 111, 340, 116, 345), 0.3),  # lower rims of the orbits
    **dict.fromkeys((21, 251, 54, 284, 139, 368, 162, 389), 0.5),  # temples
}
STABLE = tuple(STABLE_WEIGHTS)

OUTER_LIPS = (61, 291, 0, 17, 39, 269, 181, 405)
INNER_LIPS = (13, 14, 82, 312, 87, 317)
BROWS = (70, 105, 107, 300, 334, 336)
LIDS = (159, 145, 386, 374)
CHIN = 152
EXPRESSIVE = OUTER_LIPS + INNER_LIPS + BROWS + LIDS + (CHIN,)  # 25 points x (x, y) = 50 numbers
EXPRESSION_UNIT = 0.05  # eye distances
PLACES = {point: (2 * k, 2 * k + 1) for k, point in enumerate(EXPRESSIVE)}  # of a point's x and y in the expression
SPOKEN = tuple(  # places that speech moves: lips and chin, not brows and lids
    place for point, both in PLACES.items() if point not in BROWS + LIDS for place in both
)

JAW = (199, 17)  # front of the chin and lower lip drop with the jaw; lower on the chin the mesh slides as the head nods
JAW_LEVER = 0.7  # eye distances from the hinge forward to the chin

# One row per eye. Corners: left and right in the image; lids: three places across the opening
CORNERS = ((33, 133), (362, 263))
UPPER_LIDS = ((160, 159, 158), (385, 386, 387))
LOWER_LIDS = ((144, 145, 153), (380, 374, 373))
IRISES = (468, 473)
EYEBALL_RADIUS = 0.11  # eye distances from the eyeball's centre to the iris
EYEBALL_DEPTH = 0.055  # eye distances from the corners back to the eyeball's centre

SIXTY_EIGHT = (
    *(127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),  # 0-16 outline
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # 17-26 brows
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),  # 27-35 nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # 36-47 eyes
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # 48-59 outer lips
    *(78, 81, 13, 311, 308, 402, 14, 178),  # 60-67 inner lips
)


def sixty_eight(landmarks: Tensor) -> Tensor:
    """(..., 478, C) mesh landmarks -> (..., 68, C) in the usual order (dlib, iBUG)."""
    return pick(landmarks, SIXTY_EIGHT)


def mouth_opening(landmarks68: Tensor) -> Tensor:
    """(..., 68, 2) -> (...): mean gap of the three inner pairs of lip points, in distances of the outer eye corners."""
    upper, lower = landmarks68[..., 61:64, :], landmarks68[..., 65:68, :].flip(-2)
    gap = torch.linalg.vector_norm(upper - lower, dim=-1)
    eyes = torch.linalg.vector_norm(landmarks68[..., 45, :] - landmarks68[..., 36, :], dim=-1)
    return gap.mean(-1) / eyes


@torch.no_grad()
def fit_neutral(landmarks: Tensor) -> Tensor:
    """The neutral mesh of a person from the landmarks of a clip; frames that are not finite are left out.

    Args:
        landmarks: (N, 478, 3) px, N >= 1.

    Returns:
        (478, 3) eye distances, see `neutral_of`.

    Raises:
        ValueError: no frame is finite.
    """
    landmarks = landmarks[landmarks.isfinite().flatten(1).all(1)]
    if not len(landmarks):
        raise ValueError("no frame with a tracked face to take the neutral face from")
    return neutral_of(landmarks)


def neutral_of(landmarks: Tensor) -> Tensor:
    """(N, 478, 3) px -> (478, 3) eye distances: the median of the tenth of the frames with the mouth shut, the eyes
    open and the face to the front. Its third column is the generic depth of the reference."""
    reference = torch.from_numpy(np.load(REFERENCE)).to(landmarks)
    head = HeadFit(reference).to(landmarks)
    rotation, scale, centre = head(landmarks)
    mesh = face_plane(landmarks, reference, rotation, scale, centre)  # (N, 478, 2)

    # Each term is about 1 where a frame starts to look wrong
    eyes = eye_openness(mesh)
    usual = eyes.median().clamp_min(0.05)
    shut = (usual - eyes).clamp_min(0) / (0.2 * usual)
    turned = axis_angle(rotation).norm(dim=-1) / math.radians(10)
    unfit = mouth_opening(sixty_eight(mesh)) / 0.02 + turned + shut
    chosen = unfit.argsort()[: math.ceil(len(mesh) / 10)]

    plane = mesh[chosen].median(0).values
    left, right = plane[33], plane[263]
    plane = (plane - (left + right) / 2) / (right - left).norm()
    return torch.cat([plane, reference[:, 2:]], 1)


class FaceParameters(nn.Module):
    """Parameters of the paper's MLP from landmarks; call it with landmarks of square frames."""

    def __init__(self, neutral: Tensor):
        """Args: neutral: (478, 3), from `fit_neutral`."""
        super().__init__()
        self.register_buffer("neutral", neutral.clone())
        self.head = HeadFit(neutral)

    def forward(self, landmarks: Tensor, size: int) -> dict[str, Tensor]:
        """
        Args:
            landmarks: (B, 478, 3) px of an image of `size` x `size` px, integers at the centres of pixels; the depth
                is not used.

        Returns:
            pose: (B, 6) head axis-angle and jaw axis-angle, rad, as DECA: x right, y up, z to the viewer. Positive
                x: nods down, opens the jaw; positive y: turns to the right of the image; the third number is the
                roll, positive counter-clockwise.
            expression: (B, 50) x, y of the EXPRESSIVE points less the neutral, in the head's own frame (y down),
                1 = 5 % of the eye distance.
            position: (B, 3) x, y of the point midway between the eyes, and the eye distance as if seen from the
                front, in crop units: the image spans [-1, 1], y down.
            gaze: (B, 2) yaw, pitch, rad, as Gaze360: to the camera (0, 0), to the left of the image and up positive.
            openness: (B,) opening of the eyes relative to their width: about 0.3 open, 0 to 0.1 shut.
        """
        with torch.autocast(landmarks.device.type, enabled=False):  # angles need more than bf16's 8 bits
            landmarks = landmarks.to(self.neutral.dtype)
            rotation, scale, centre = self.head(landmarks)
            mesh = face_plane(landmarks, self.neutral, rotation, scale, centre)
            moved = mesh - self.neutral[:, :2]
            return {
                "pose": torch.cat([axis_angle(rotation), jaw_angle(moved)], 1),
                "expression": pick(moved, EXPRESSIVE).flatten(1) / EXPRESSION_UNIT,
                "position": torch.cat([crop_units(centre, size), scale[:, None] * 2 / size], 1),
                "gaze": self._gaze(mesh, rotation),
                "openness": eye_openness(mesh),
            }

    def _gaze(self, mesh: Tensor, rotation: Tensor) -> Tensor:
        """(B, 478, 2) landmarks in the face plane, (B, 3, 3) -> (B, 2) yaw, pitch.

        The iris's offset from the eyeball's centre, over the radius, is the gaze direction's part in the image plane.
        With eyes straight ahead the iris is taken to be midway between the corners, at its height in the neutral.
        """
        offset = iris_offset(mesh).mean(1)  # (B, 2)
        rest = iris_offset(self.neutral).mean(0)  # (3,)
        # The mesh hardly follows an iris up and down; the upper lid rides on the eyeball, so it counts as much
        lids = pick(mesh - self.neutral[:, :2], UPPER_LIDS)[..., 1].mean((1, 2))
        offset = torch.stack([offset[:, 0], (offset[:, 1] - rest[1] + lids) / 2], 1)

        depth = rest[2] - EYEBALL_DEPTH  # iris of the template less the eyeball's centre
        right, down = ((in_image(offset, rotation) + rotation[:, :2, 2] * depth) / EYEBALL_RADIUS).unbind(1)
        towards = (1 - right**2 - down**2).clamp_min(0.05).sqrt()
        return torch.stack([torch.atan2(-right, towards), torch.atan2(-down, (right**2 + towards**2).sqrt())], 1)


class HeadFit(nn.Module):
    """Scaled orthographic fit of a template's STABLE points to landmarks, in closed form."""

    def __init__(self, template: Tensor):
        """Args: template: (478, 3)."""
        super().__init__()
        weights = template.new_tensor(list(STABLE_WEIGHTS.values()))[:, None]
        self.register_buffer("weights", weights / weights.sum(), persistent=False)  # (P, 1)
        points = template[list(STABLE)]
        mean = (self.weights * points).sum(0)
        self.register_buffer("mean", mean, persistent=False)  # (3,)
        points = points - mean
        solve = (self.weights * points) @ torch.linalg.inv((self.weights * points).T @ points)
        self.register_buffer("solve", solve, persistent=False)  # (P, 3) landmarks -> 2x3 matrix, by least squares

    def forward(self, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 478, 3) px -> rotation (B, 3, 3), scale (B,) px per eye distance, centre (B, 2) px of the origin."""
        points = pick(landmarks[..., :2], STABLE)
        mean = (self.weights * points).sum(1)
        affine = (points - mean[:, None]).mT @ self.solve  # (B, 2, 3): x = affine @ template + shift

        # Polar decomposition: affine = root @ rows, rows orthonormal, root the square root of affine @ affine.mT.
        # A 2x2 matrix M has M^2 - trace M + determinant = 0, which gives the root and its inverse in closed form
        square = affine @ affine.mT
        determinant = torch.linalg.vector_norm(torch.linalg.cross(affine[:, 0], affine[:, 1]), dim=-1)  # of the root
        trace = torch.sqrt(square.diagonal(dim1=1, dim2=2).sum(1) + 2 * determinant)  # of the root
        one = torch.eye(2, dtype=square.dtype, device=square.device)
        root = (square + determinant[:, None, None] * one) / trace[:, None, None]
        rows = (trace[:, None, None] * one - root) @ affine / determinant[:, None, None]
        rotation = torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
        scale = trace / 2
        centre = mean - scale[:, None] * (rows @ self.mean)
        return rotation, scale, centre


def face_plane(landmarks: Tensor, template: Tensor, rotation: Tensor, scale: Tensor, centre: Tensor) -> Tensor:
    """(B, 478, 3) px -> (B, 478, 2) eye distances: x, y in the head's own frame, each point at the template's depth."""
    image = (landmarks[..., :2] - centre[:, None]) / scale[:, None, None]
    image = image - rotation[:, None, :2, 2] * template[:, 2:]
    (a, b), (c, d) = rotation[:, :2, :2].permute(1, 2, 0)[..., None]  # each (B, 1)
    x, y = image.unbind(-1)
    determinant = (a * d - b * c).clamp_min(0.3)  # cosine of the turn: past 72 degrees noise would drown all
    return torch.stack([d * x - b * y, a * y - c * x], -1) / determinant[..., None]


def in_image(plane: Tensor, rotation: Tensor) -> Tensor:
    """(B, 2) of the face plane -> (B, 2) as it appears in the image: `face_plane` undone, without depth and scale."""
    return (rotation[:, :2, :2] @ plane[..., None])[..., 0]


def axis_angle(rotation: Tensor) -> Tensor:
    """(B, 3, 3) in image axes -> (B, 3) rad in DECA's axes; smooth at no rotation, for angles below 180 degrees."""
    r = rotation
    # Image axes differ from DECA's by the sign of y and z
    axis = torch.stack([r[:, 2, 1] - r[:, 1, 2], r[:, 2, 0] - r[:, 0, 2], r[:, 0, 1] - r[:, 1, 0]], 1) / 2  # times sine
    cosine = (r.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) - 1) / 2
    squared = axis.square().sum(1, keepdim=True)
    small = squared < 1e-6  # here the square root has no gradient: take angle / sine from its series
    sine = torch.where(small, 1, squared).sqrt()
    return axis * torch.where(small, 1 + squared / 6, torch.atan2(sine, cosine) / sine)


def jaw_angle(moved: Tensor) -> Tensor:
    """(B, 478, 2) shifts from the neutral in the face plane -> (B, 3) jaw axis-angle, rad, in DECA's axes."""
    sideways, drop = (pick(moved, JAW).mean(1) / JAW_LEVER).unbind(1)
    return torch.stack([drop, sideways, torch.zeros_like(drop)], 1)


def iris_offset(mesh: Tensor) -> Tensor:
    """(..., 478, C) -> (..., 2 eyes, C): the iris less the midpoint of its eye's corners."""
    return pick(mesh, IRISES) - pick(mesh, CORNERS).mean(-2)


def eye_openness(mesh: Tensor) -> Tensor:
    """(B, 478, 2) landmarks in the face plane -> (B,) gap of the lids over the width of the eye, mean of both eyes."""
    gap = (pick(mesh, LOWER_LIDS) - pick(mesh, UPPER_LIDS))[..., 1].mean(2)  # (B, 2)
    left, right = pick(mesh, CORNERS)[..., 0].unbind(2)
    return (gap / (right - left)).mean(1)


def pick(points: Tensor, indices: tuple) -> Tensor:
    """(..., 478, C) -> (..., shape of indices, C)."""
    return points[..., _on_device(indices, points.device), :]


@cache
def _on_device(indices: tuple, device: torch.device) -> Tensor:
    """Copied to the device once: a GPU would wait for the copy at every call."""
    with torch.inference_mode(False):  # it outlives the mode it happens to be made in
        return torch.tensor(indices, device=device)
