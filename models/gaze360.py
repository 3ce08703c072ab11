"""Gaze360's video model (Kellnhofer et al. 2019): where a head looks, from seven frames around a moment.

Gaze is (yaw, pitch) in radians: yaw = atan2(gx, -gz), pitch = asin(gy) of the unit gaze vector, with x to the left
and y up in the picture, z away from the camera.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18

from models.checkpoint import load_strictly, part, read_checkpoint

CROP = 224  # px, the network's input
FRAMES = 7  # frames in a window
CENTRE = 3  # the frame of a window whose gaze it tells
FEATURES = 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours

BROWS_TO_CROWN = 0.6  # of the height from chin to brows
FACE_TO_EAR = 0.1  # of the width of the landmarks
MARGIN = 0.15  # of a head's width and height, on each side; the authors'


def load_gaze360(path: Path) -> "Gaze360":
    """Gaze360 from gaze360_model.pth.tar; frozen, in eval mode, on the CPU.

    Raises:
        WeightsError: the file cannot be read, or is another network's; it names the first keys or shape that differ.
    """
    state = part(read_checkpoint(path), "state_dict", path)
    return load_strictly(Gaze360(), state, path)


class Gaze360(nn.Module):
    """ResNet-18 on each frame, then a bidirectional LSTM over the window."""

    def __init__(self):
        super().__init__()
        self.base_model = resnet18(weights=None)
        self.base_model.fc = nn.Identity()
        self.base_model.fc1 = nn.Linear(512, 1000)
        self.base_model.fc2 = nn.Linear(1000, FEATURES)
        self.lstm = nn.LSTM(FEATURES, FEATURES, num_layers=2, bidirectional=True, batch_first=True)
        self.last_layer = nn.Linear(2 * FEATURES, 3)

    def forward(self, heads: Tensor) -> tuple[Tensor, Tensor]:
        """`gaze_of` the `features` of windows of heads, (B, 7, 3, 224, 224) or (B, 21, 224, 224).

        Raises:
            ValueError: the heads have another shape.
        """
        if heads.shape[1:] not in ((FRAMES, 3, CROP, CROP), (FRAMES * 3, CROP, CROP)):
            raise ValueError(f"heads are {tuple(heads.shape)}, Gaze360 takes (B, {FRAMES}, 3, {CROP}, {CROP})")
        features = self.features(heads.reshape(-1, 3, CROP, CROP))
        return self.gaze_of(features.view(-1, FRAMES, FEATURES))

    def features(self, heads: Tensor) -> Tensor:
        """What each frame shows; a frame stands in seven windows but needs this only once.

        Args:
            heads: (N, 3, 224, 224), as `prepare_heads` makes them.

        Returns:
            (N, 256).
        """
        base = self.base_model
        return base.fc2(base.fc1(base(heads)).relu())

    def gaze_of(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The gaze in the centre frame of each window.

        Args:
            features: (B, 7, 256), `features` of the frames that `windows` picks.

        Returns:
            gaze (B, 2): yaw in [-pi, pi] and pitch in [-pi/2, pi/2]; and spread (B, 1) in [0, pi], all in radians.
            About 80 % of true angles are expected within `spread` of the gaze.

        Raises:
            ValueError: the features have another shape.
        """
        if features.shape[1:] != (FRAMES, FEATURES):
            raise ValueError(f"features are {tuple(features.shape)}, expected (B, {FRAMES}, {FEATURES})")
        yaw, pitch, spread = self.last_layer(self.lstm(features)[0][:, CENTRE]).split(1, 1)
        gaze = torch.cat([math.pi * yaw.tanh(), math.pi / 2 * pitch.tanh()], 1)
        return gaze, math.pi * spread.sigmoid()


def head_boxes(landmarks: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Boxes of whole heads, from the landmarks of their faces.

    The authors' notebook takes the tight box of the head that DensePose segments, hair and ears included. Here the box
    of the landmarks, which spans brows to chin, is raised by 0.6 of its height to the crown (in an adult, the eyes lie
    midway between chin and crown) and extended by 0.1 of its width on both sides to the ears. As in the notebook it is
    then widened by 15 % on each side, and clipped to the image.

    Args:
        landmarks: (N, 68, 2) px.
        size: of the image: (width, height), or the side of a square; px.

    Returns:
        (N, 4) px: left, top, right, bottom.
    """
    (left, top), (right, bottom) = landmarks.min(1).T, landmarks.max(1).T  # (N,) each
    ear = FACE_TO_EAR * (right - left)
    left, top, right = left - ear, top - BROWS_TO_CROWN * (bottom - top), right + ear
    beside, above = MARGIN * (right - left), MARGIN * (bottom - top)
    boxes = np.stack([left - beside, top - above, right + beside, bottom + above], 1)
    return np.clip(boxes, 0, np.tile(np.broadcast_to(size, 2), 2))


def prepare_heads(frames: np.ndarray, boxes: np.ndarray) -> Tensor:
    """Cut the heads out of frames as the authors' notebook does: whole pixels, antialiased, ImageNet's colour scale.

    Args:
        frames: (N, H, W, 3) uint8 RGB.
        boxes: (N, 4) px: left, top, right, bottom, rounded here; black where they leave the image.

    Returns:
        (N, 3, 224, 224), normalised by ImageNet's mean and standard deviation.

    Raises:
        ValueError: a box holds no pixel, or frames and boxes differ in number.
    """
    rounded = np.rint(boxes)
    empty = np.flatnonzero(~(rounded[:, 2:] > rounded[:, :2]).all(1))  # NaN counts as empty
    if len(empty):
        raise ValueError(f"the head box of frame {empty[0]} is empty; leave out frames without this person")
    return torch.stack([_prepare_head(frame, box) for frame, box in zip(frames, rounded.tolist(), strict=True)])


def _prepare_head(frame: np.ndarray, box: list[float]) -> Tensor:
    """(H, W, 3) uint8 and left, top, right, bottom in whole px -> (3, 224, 224)."""
    head = Image.fromarray(frame).crop(box).resize((CROP, CROP), Image.Resampling.BILINEAR)
    return TF.normalize(TF.to_tensor(head), MEAN, STD)


def windows(valid: np.ndarray, fps: float) -> np.ndarray:
    """The frames that tell the gaze in each frame of a clip: itself and three before and after, about 1/8 s apart.

    A frame that misses the person gives way to the window's centre, as in the authors' notebook; so does one beyond
    the ends of the clip.

    Args:
        valid: (N,) bool, whether the person is in the frame.
        fps: frames per second.

    Returns:
        (N, 7) indices of frames. A window whose centre is not valid tells nothing.
    """
    valid = np.asarray(valid, bool)
    step = max(int(fps // 8), 1)
    centres = np.arange(len(valid))[:, None]
    frames = centres + step * np.arange(-CENTRE, FRAMES - CENTRE)
    inside = (frames >= 0) & (frames < len(valid))
    there = inside & valid[np.where(inside, frames, centres)]
    return np.where(there, frames, centres)
