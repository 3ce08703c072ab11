"""The consistency network Phi of eq. 5 on the default components: the face mesh, read from a generated picture.

The crop follows the motion the picture was asked to show, so no detector runs in the training loop and the
gradient reaches every pixel of the face.
"""

import torch
from torch import Tensor, nn

from models.crop_units import pixels
from models.face_mesh import FaceMesh, box_of, crop_faces, to_image
from models.face_parameters import FaceParameters

# What eq. 5 compares, and the tracker's own noise in it. No gaze: irises are a few pixels wide, and a portrait that
# must please the mesh there paints them bright instead of turning them; it learns gaze from the person's own frames.
SPREAD_FLOOR = {"pose": 0.02, "expression": 0.2, "position": 0.01}


class MeshConsistency(nn.Module):
    """Measure motion parameters in pictures of one person.

    Args:
        mesh: the face mesh network; its weights get no gradient.
        neutral: (478, 3) the person's neutral mesh.
        landmarks: (N, 478, 3) of the person's own frames, px of a picture `size` wide.
        motion: pose (N, 6) and position (N, 3) of the same frames.
    """

    def __init__(self, mesh: FaceMesh, neutral: Tensor, landmarks: Tensor, motion: dict[str, Tensor], size: int):
        super().__init__()
        self.mesh, self.parameters_of = mesh.eval().requires_grad_(False), FaceParameters(neutral)
        boxes = box_of(landmarks)
        centre, face = pixels(motion["position"][:, :2], size), motion["position"][:, 2:] / 2 * size
        offset = turn((boxes[:, :2] - centre) / face, motion["pose"][:, 2])
        self.register_buffer("offset", offset.median(0).values)  # of the box from the face's centre, in face sizes
        self.register_buffer("side", (boxes[:, 2:3] / face).median(0).values)

    def boxes(self, motion: dict[str, Tensor], size: int) -> Tensor:
        """(B, 4) face boxes that `motion` implies in a picture `size` wide."""
        roll = motion["pose"][:, 2]
        face = motion["position"][:, 2:] / 2 * size
        centre = pixels(motion["position"][:, :2], size) + turn(self.offset.expand(len(roll), 2), -roll) * face
        return torch.cat([centre, self.side * face, -roll[:, None]], 1)

    def forward(
        self, images: Tensor, motion: dict[str, Tensor], texture: Tensor | None = None
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Find the parameters in images (B, 3, S, S) in [0, 1] that were to show `motion`; `texture` is of no use here.

        Returns:
            pose (B, 6), expression (B, 50), position (B, 3), gaze (B, 2) as the tracker defines them,
            and the network's own features of the face crop, for eq. 4.
        """
        size = images.shape[-1]
        with torch.autocast(images.device.type, enabled=False):  # as the mesh
            boxes = self.boxes(motion, size)
            found = self.mesh(crop_faces(images, boxes))
            return self.parameters_of(to_image(found.landmarks, boxes), size), found.features

    def features(self, images: Tensor, motion: dict[str, Tensor]) -> list[Tensor]:
        """The network's features alone, of the same crop."""
        with torch.autocast(images.device.type, enabled=False):
            return self.mesh.features(crop_faces(images, self.boxes(motion, images.shape[-1])))

    def spread(self, motion: dict[str, Tensor]) -> dict[str, Tensor]:
        """The unit in which eq. 5 counts each parameter: the person's own spread, motion (N, d), and a floor."""
        return {name: motion[name].std(0) + floor for name, floor in SPREAD_FLOOR.items()}


def turn(vectors: Tensor, angle: Tensor) -> Tensor:
    """Turn (B, 2) image vectors (y down) clockwise as seen by `angle` (B,), rad."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * vectors[:, 0] - sin * vectors[:, 1], sin * vectors[:, 0] + cos * vectors[:, 1]], 1)
