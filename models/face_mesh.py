"""MediaPipe's face detector and its face mesh with attention, in torch from their .tflite files.

A box is (centre x, centre y, side, roll): three in px of the image, the roll in radians, clockwise in the picture.
Everything is batched and differentiable in the image; the weights are constants.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.tflite_graph import LandmarksToMatrix, TFLiteGraph

CROP = 192  # px, the mesh network's input
LEFT_CORNER, RIGHT_CORNER = 33, 263  # outer corners of the eye that is left, right in the picture
MARGIN = 1.5  # side of a box over the larger extent of the face


class Mesh(NamedTuple):
    landmarks: Tensor  # (B, 478, 3) px of the crop; z away from the viewer, same scale
    presence: Tensor  # (B,) logit: is there a face in the crop?
    features: list[Tensor]  # (B, C, h, w) activations of the trunk at strides 2, 4, 8, 16


class FaceMesh(nn.Module):
    """478 landmarks of the face in a crop. In float32 even under autocast: half precision costs pixels.

    Args:
        path: face_landmark_with_attention.tflite; errors as `TFLiteGraph`.
    """

    TRUNK = ("p_re_lu_2", "p_re_lu_5", "p_re_lu_8", "p_re_lu_11")  # 16, 32, 64, 128 channels

    def __init__(self, path: Path):
        super().__init__()
        self.graph = TFLiteGraph(path, keep=self.TRUNK)
        boxes = [step for step in self.graph.steps if isinstance(step, LandmarksToMatrix)]
        lips, left_eye, right_eye = [box.subset for box in boxes]  # landmarks that the attention branches refine
        self.register_buffer("refined", torch.tensor(lips + left_eye + right_eye), persistent=False)
        # An iris has no depth of its own: MediaPipe gives it the mean depth of the eye's contour.
        self.register_buffer("contours", torch.tensor([left_eye[:16], right_eye[:16]]), persistent=False)

    def forward(self, faces: Tensor) -> Mesh:
        """faces (B, 3, 192, 192) RGB in [0, 1]."""
        values = self._values(faces)
        points = {name: values[name].flatten(1) for name in self.graph.outputs}
        base = points["output_mesh_identity"].unflatten(1, (468, 3))
        finer = [points[f"output_{part}"].unflatten(1, (-1, 2)) for part in ("lips", "left_eye", "right_eye")]
        irises = [points[f"output_{side}_iris"].unflatten(1, (5, 2)) for side in ("left", "right")]
        face = base[..., :2].index_copy(1, self.refined, torch.cat(finer, 1))
        depth = base[..., 2]
        iris_depth = depth[:, self.contours].mean(-1).repeat_interleave(5, 1)  # (B, 10)
        landmarks = torch.cat([torch.cat([face, *irises], 1), torch.cat([depth, iris_depth], 1)[..., None]], -1)
        return Mesh(landmarks, points["conv_faceflag"][:, 0], [values[name] for name in self.TRUNK])

    def coarse(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks (B, 468, 3), lips and eyes unrefined and no irises, and presence: in two thirds of the time."""
        points, presence = self._values(faces, ("output_mesh_identity", "conv_faceflag")).values()
        return points.flatten(1).unflatten(1, (468, 3)), presence.flatten()

    def features(self, faces: Tensor) -> list[Tensor]:
        """`forward(faces).features`, in a third of its time."""
        return list(self._values(faces, self.TRUNK).values())

    def _values(self, faces: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        with torch.autocast(faces.device.type, enabled=False):
            return self.graph(faces.float(), names)


class Faces(NamedTuple):
    boxes: Tensor  # (k, 4), best first
    scores: Tensor  # (k,) in [0, 1]


class FaceDetector(nn.Module):
    """Short-range face detector. `forward` gives its raw candidates, `find` the faces of each image.

    Args:
        path: face_detection_short_range.tflite; errors as `TFLiteGraph`.
    """

    SIZE = 128  # px, the network's input
    MIN_SCORE = 0.5  # MediaPipe's thresholds
    MIN_OVERLAP = 0.3

    def __init__(self, path: Path):
        super().__init__()
        self.graph = TFLiteGraph(path, keep=("classificators", "regressors"))
        located = torch.ones(8, 1)
        located[1] = 0  # width and height: a size, no place
        self.register_buffer("located", located, persistent=False)
        self.register_buffer("anchors", _anchors(self.SIZE)[:, None] * located, persistent=False)  # (896, 8, 2) px

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, 3, H, W) RGB in [0, 1].

        Returns:
            logits (B, 896), and points (B, 896, 8, 2) in image px: centre, width and height, then right eye, left
            eye, nose, mouth and both ears (right and left are the person's own).
        """
        height, width = images.shape[2:]
        longer = max(height, width)
        whole = self.anchors.new_tensor([[width / 2, height / 2, longer, 0]]).expand(len(images), 4)
        small = crop_faces(images, whole, self.SIZE, padding="zeros")
        with torch.autocast(images.device.type, enabled=False):
            values = self.graph(small * 2 - 1)
        points = values["regressors"].unflatten(2, (8, 2)) + self.anchors
        scale = longer / self.SIZE
        return values["classificators"][..., 0], points * scale + self.located * (whole[0, :2] - longer / 2)

    @torch.no_grad()
    def find(self, images: Tensor) -> list[Faces]:
        """The faces of each image, on the CPU: overlapping candidates merged as MediaPipe does."""
        logits, points = (values.cpu() for values in self(images))
        return [self._merge(*image) for image in zip(logits.sigmoid(), points, strict=True)]

    def _merge(self, scores: Tensor, points: Tensor) -> Faces:
        """Score-weighted mean of each group of candidates that overlap the group's best. (896,), (896, 8, 2)."""
        order = torch.argsort(scores, descending=True, stable=True)
        order = order[: int((scores > self.MIN_SCORE).sum())]
        scores, points = scores[order], points[order]
        boxes, best = [], []
        while len(scores):
            same = overlap(points[0], points) > self.MIN_OVERLAP
            same[0] = True
            weight = scores[same, None, None]
            boxes.append(box_of_detection((points[same] * weight).sum(0) / weight.sum()))
            best.append(scores[0])
            scores, points = scores[~same], points[~same]
        return Faces(torch.stack(boxes), torch.stack(best)) if boxes else Faces(points.new_zeros(0, 4), scores)


def crop_matrix(boxes: Tensor, size: int = CROP) -> Tensor:
    """(..., 4) -> (..., 2, 3), from px of the crop to px of the image."""
    x, y, side, roll = boxes.unbind(-1)
    cos, sin = roll.cos() * side / size, roll.sin() * side / size
    half = size / 2
    rows = [cos, -sin, x - (cos - sin) * half, sin, cos, y - (sin + cos) * half]
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


def crop_faces(images: Tensor, boxes: Tensor, size: int = CROP, padding: str = "border") -> Tensor:
    """Cut one upright face out of each image, bilinear. Pixel i of the crop lies i/size along the box, as MediaPipe.

    Args:
        images: (B, 3, H, W) float.
        boxes: (B, 4).
        padding: outside the image, "border" repeats its edge and "zeros" is black.

    Returns:
        (B, 3, size, size), differentiable in images and boxes.
    """
    height, width = images.shape[2:]
    matrix = crop_matrix(boxes, size)[..., None, None]  # (B, 2, 3, 1, 1)
    steps = torch.arange(size, device=boxes.device, dtype=boxes.dtype)
    points = matrix[:, :, 0] * steps + (matrix[:, :, 1] * steps[:, None] + matrix[:, :, 2])  # (B, 2, size, size)
    grid = torch.stack([points[:, 0] * (2 / (width - 1)) - 1, points[:, 1] * (2 / (height - 1)) - 1], -1)
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=True)


def to_image(landmarks: Tensor, boxes: Tensor, size: int = CROP) -> Tensor:
    """Landmarks (..., N, 3) in px of the crop -> px of the image the crop was cut from, z in the same unit."""
    matrix = crop_matrix(boxes, size)
    flat = landmarks[..., :2] @ matrix[..., :2].transpose(-1, -2) + matrix[..., None, :, 2]
    return torch.cat([flat, landmarks[..., 2:] * (boxes[..., 2] / size)[..., None, None]], -1)


def box_of(landmarks: Tensor) -> Tensor:
    """The box that MediaPipe cuts out next round landmarks (..., 468 or 478, 2 or 3) in image px -> (..., 4)."""
    points = landmarks[..., :2]
    low, high = points.amin(-2), points.amax(-2)
    across = points[..., RIGHT_CORNER, :] - points[..., LEFT_CORNER, :]
    side = MARGIN * (high - low).amax(-1, keepdim=True)
    return torch.cat([(low + high) / 2, side, torch.atan2(across[..., 1:], across[..., :1])], -1)


def _anchors(size: int) -> Tensor:
    """Where the detector's 896 candidates count from, px: 2 per cell of 8 px, then 6 per cell of 16 px."""
    grids = []
    for stride, count in ((8, 2), (16, 6)):
        centres = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        grids.append(torch.stack([x, y], -1).view(-1, 2).repeat_interleave(count, 0))
    return torch.cat(grids)


def overlap(one: Tensor, many: Tensor) -> Tensor:
    """Intersection over union of a candidate (8, 2) with others (n, 8, 2)."""
    low = torch.maximum(one[0] - one[1] / 2, many[:, 0] - many[:, 1] / 2)
    high = torch.minimum(one[0] + one[1] / 2, many[:, 0] + many[:, 1] / 2)
    shared = (high - low).clamp_min(0).prod(-1)
    return shared / (one[1].prod() + many[:, 1].prod(-1) - shared)


def box_of_detection(points: Tensor) -> Tensor:
    """Box of a detected face (8, 2), upright by its two eyes."""
    across = points[3] - points[2]
    return torch.stack([*points[0], MARGIN * points[1].max(), torch.atan2(across[1], across[0])])
