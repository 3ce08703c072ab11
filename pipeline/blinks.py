"""A person's blinks, lent to pictures of open eyes. Not in the paper.

Eyes are shut in one frame of a hundred, and in few poses: a portrait that learned from these alone keeps its own open.
"""

from itertools import cycle

import cv2
import numpy as np
import torch
from torch import Tensor

from models.face_parameters import EXPRESSION_UNIT, LIDS, PLACES

SHUT = 0.5  # of the gap between the lids of the neutral face
EYES = slice(36, 42), slice(42, 48)  # of the 68 landmarks, from one corner round to the other and back
NOSE = 33  # its base, another of them: with an eye's corners it says how the face lies in the picture
MARGIN = 0.5  # widths of the eye: what is lent of the skin around, all that a blink moves, but not the brow
LID_NUMBERS = [place for point in LIDS for place in PLACES[point]]  # of the expression


def shut_eyes(expression: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """(N, 50) from `models.face_parameters`, (478, 3) the person's neutral face -> (N,) bool."""
    upper, lower = list(LIDS[0::2]), list(LIDS[1::2])
    rest = (neutral[lower, 1] - neutral[upper, 1]) / EXPRESSION_UNIT
    heights = expression[:, LID_NUMBERS[1::2]]
    return ((rest + heights[:, 1::2] - heights[:, 0::2]) / rest).mean(1) < SHUT


def lenders(shut: np.ndarray, valid: np.ndarray, share: float) -> dict[int, int]:
    """Frames that borrow shut eyes, evenly over the clip, and from which frames: all blinks in turn.

    Args:
        shut: (N,) bool, frames with shut eyes; without one nobody borrows.
        valid: (N,) bool, frames with a face.
        share: part of these that shall show shut eyes, the person's own blinks among them.
    """
    awake, blinks = np.flatnonzero(valid & ~shut), np.flatnonzero(valid & shut)
    count = max(0, round(share * valid.sum()) - len(blinks)) if len(blinks) else 0
    borrowers = awake[np.linspace(0, len(awake), count, endpoint=False).astype(int)]
    return dict(zip(borrowers.tolist(), cycle(blinks.tolist()), strict=False))


def borrow_lids(expression: Tensor, lent: dict[int, int]) -> None:
    """What the expression (N, 50) says of the lids, taken over from the lenders in place."""
    lids = torch.tensor(LID_NUMBERS)
    borrowers, givers = torch.tensor([*lent], dtype=torch.long), torch.tensor([*lent.values()], dtype=torch.long)
    expression[borrowers[:, None], lids] = expression[givers[:, None], lids]


def borrow_eyes(picture: np.ndarray, landmarks: np.ndarray, lender: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """`picture` with the eyes of `lender`, both (S, S, 3) uint8 with landmarks (68, 2) px: each eye laid where the
    other was, without a seam (Pérez et al., Poisson image editing, 2003)."""
    size = len(picture)
    for eye in EYES:
        known = [eye.start, eye.start + 3, NOSE]
        there = cv2.getAffineTransform(theirs[known].astype(np.float32), landmarks[known].astype(np.float32))
        moved = cv2.warpAffine(lender, there, (size, size), borderMode=cv2.BORDER_REPLICATE)
        both = np.concatenate([landmarks[eye], theirs[eye] @ there[:, :2].T + there[:, 2]])
        outline = cv2.convexHull(both.round().astype(np.int32))
        width = np.linalg.norm(landmarks[eye.start + 3] - landmarks[eye.start])
        mask = cv2.fillConvexPoly(np.zeros((size, size), np.uint8), outline, 255)
        cv2.polylines(mask, [outline], True, 255, thickness=1 + round(2 * MARGIN * width))
        if not cv2.erode(mask, np.ones((5, 5)), borderType=cv2.BORDER_CONSTANT, borderValue=0).any():
            continue  # next to nothing of this eye is in the picture
        left, top, across, down = cv2.boundingRect(mask)
        picture = cv2.seamlessClone(moved, picture, mask, (left + across // 2, top + down // 2), cv2.NORMAL_CLONE)
    return picture
