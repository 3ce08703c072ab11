"""Move the face of a photograph: where in the photograph does each pixel of the new picture come from?

The head is cut out of the photograph along its outline; the rest, filled in behind it, stands still. Each pixel of the
moving head is traced back in steps. Undo its turn, which fades out down the neck. Undo smile, rounded lips and brows:
smooth bumps. Then open mouth and lids: each is a *hole* between two edges, an upper and a lower curve. What slides
apart above and below is skin; what shows between them is a second picture: the photograph, with teeth and tongue
painted where the mouth is.

Lengths are in eye distances (between the outer eye corners) unless marked px; x is right, y down.
"""

from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import griddata

STEP = 2  # px between the points where the turn of the head is computed
ROUNDS = 8  # of the iteration that inverts it: the error falls below .1 px

UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)  # inner edges from the left corner to the right
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LOWER_LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
EYE_CORNERS, MOUTH_CORNERS, BROWS, CHIN = (33, 263), (61, 291), (105, 334), 152

NECK_TURN = (0.0, 1.35, 0.6)  # what the head turns about, from between the eyes: on the neck, behind the face
RIM = 0.02  # round the outline, where head and background mix
NECK = 0.42  # length below the chin, over which the motion of the head fades out
JAW_DROP = 0.27  # mouth opening at open = 1
JAW_REACH = 0.9  # half the width of what moves with the chin
NECK_REACH = 0.75  # below the chin, where the motion of the jaw has faded out
LIP_LIFT = 0.03  # upper lip at open = 1
LIP_REACH = 0.22  # above the upper lip, where its motion has faded out
SMILE = (0.1, 0.085)  # corners of the mouth at smile = 1: outwards, up
ROUNDING = 0.4  # how much narrower lips get at pucker = 1
LID_SKIN = 0.08  # height of the skin above the eye that stretches when it shuts
SHUT = 0.94  # part of the eye that a full blink covers: the rest is the line of the lashes
GAZE = (0.075, 0.045)  # iris at gx, gy = 1
DARK, TONGUE, TEETH = (46, 16, 18), (138, 66, 66), (196, 168, 140)  # RGB
TEETH_HEIGHT = 0.04
SMILES = 0.05  # a photograph whose lips part by more shows teeth


class Act(NamedTuple):
    """What the face does: numbers of one frame, or (N,) arrays of a clip. 0 is the photograph, but for `open`."""

    yaw: float  # degrees: positive turns to the right of the picture,
    pitch: float  # nods down,
    roll: float  # tilts anticlockwise
    tx: float  # eye distances, right
    ty: float  # eye distances, down
    open: float  # mouth: 0 shut to 1
    pucker: float  # -1 spread to 1 rounded
    smile: float  # -1 to 1
    brow: float  # raised: 0 to 1
    blink: float  # 0 to 1
    gx: float  # eyes: -1 left to 1 right of the picture
    gy: float  # -1 up to 1 down


class Curves(NamedTuple):
    """Edges of a mouth or eye in the photograph, px, from the left corner to the right."""

    x: np.ndarray  # (n,), rising
    upper: np.ndarray
    lower: np.ndarray

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """y of both edges at x, and how far x is from the corners: 0 there and outside, 1 in the middle."""
        across = np.clip((x - self.x[0]) / (self.x[-1] - self.x[0]), 0, 1)
        return (
            np.interp(x, self.x, self.upper).astype(np.float32),
            np.interp(x, self.x, self.lower).astype(np.float32),
            4 * across * (1 - across),
        )


class Puppet:
    """A photograph that moves."""

    def __init__(self, photo: np.ndarray, landmarks: np.ndarray, outline: np.ndarray, brows: float):
        """
        Args:
            photo: (S, S, 3) uint8 RGB, S even.
            landmarks: (478, 3) mesh of the face, px; z away from the viewer.
            outline: (n, 2) polygon round head, hair and neck, px; on the neck it closes where NECK ends.
            brows: how far they rise; little under spectacles.
        """
        self.photo, self.brows = photo, brows
        left, right = landmarks[list(EYE_CORNERS), :2]
        self.unit = float(np.linalg.norm(right - left))  # px
        self.eyes = (left + right) / 2  # px
        self.marks = landmarks[:, :2].astype(np.float32)
        self.mouth = self._curves(UPPER_LIP, LOWER_LIP)
        self.lids = [self._curves(*eye) for eye in zip(UPPER_LIDS, LOWER_LIDS, strict=True)]
        self.parted = float((self.mouth.lower - self.mouth.upper).max())  # px, in the photograph
        size = len(photo)
        across = np.arange(0, size, STEP, dtype=np.float32) + (STEP - 1) / 2
        self.grid = np.stack(np.meshgrid(across, across), -1)  # (G, G, 2) px
        self.depth = self._depth(landmarks)  # (G, G) px
        down_neck = (self.grid[..., 1] - self.marks[CHIN, 1]) / (NECK * self.unit)
        self.follow = 1 - _rise(down_neck)  # (G, G): 1 moves with the head, 0 stays
        self.behind = self._paint_mouth()  # (S, S, 3)
        self.matte = _fill(outline, size)  # (S, S) in [0, 1]: 1 is head
        self.still = _without(photo, self.matte, round(RIM * self.unit)).astype(np.float32)  # (S, S, 3)

    def render(self, act: Act) -> np.ndarray:
        """(S, S, 3) uint8 RGB."""
        act = Act(*map(float, act))  # NumPy's own floats would make every array float64
        skin = self._turn_back(act)  # (S, S, 2) px of the photograph that each pixel shows
        holes = []  # where, what shows in it, and how much of that
        box = self._window(skin, self._around_mouth())
        skin[box], *hole = self._open_mouth(self._shape_lips(skin[box], act), act)
        holes.append((box, *hole))
        for curves, brow in zip(self.lids, BROWS, strict=True):
            box = self._window(skin, self._around_eye(curves))
            skin[box], *hole = self._open_eye(self._raise_brow(skin[box], brow, act), curves, act)
            holes.append((box, *hole))
        head, matte = _sampled(self.photo, skin), _sampled(self.matte, skin)
        for box, behind, part in holes:
            head[box] += part[..., None] * (_sampled(self.behind, behind) - head[box])
        return np.round(self.still + matte.clip(0, 1)[..., None] * (head - self.still)).astype(np.uint8)

    # The photograph, measured once

    def _curves(self, upper: tuple[int, ...], lower: tuple[int, ...]) -> Curves:
        """Both edges over common x; the lower never above the upper."""
        top, bottom = self.marks[list(upper)], self.marks[list(lower)]
        x = np.maximum.accumulate(top[:, 0])
        below = np.interp(x, np.maximum.accumulate(bottom[:, 0]), bottom[:, 1])
        return Curves(x, top[:, 1], np.maximum(below, top[:, 1]))

    def _depth(self, landmarks: np.ndarray) -> np.ndarray:
        """Depth behind the eyes: the mesh on the face, beside it that of its nearest point; px."""
        known = landmarks[:468]
        surface = griddata(known[:, :2], known[:, 2], self.grid, "linear")
        nearest = griddata(known[:, :2], known[:, 2], self.grid, "nearest")
        depth = np.where(np.isfinite(surface), surface, nearest) - landmarks[list(EYE_CORNERS), 2].mean()
        return cv2.GaussianBlur(depth.astype(np.float32), (0, 0), 0.05 * self.unit / STEP)

    def _paint_mouth(self) -> np.ndarray:
        """The photograph with the inside of a mouth below the upper lip: teeth that stay on the skull, tongue."""
        y, x = np.indices(self.photo.shape[:2], dtype=np.float32)
        upper, lower, middle = self.mouth.at(x)
        below = (y - upper) / self.unit
        inside = np.full(self.photo.shape, DARK, np.float32)
        tongue = _rise((below - 0.55 * JAW_DROP) / (0.45 * JAW_DROP)) * _rise(2 * middle - 0.6)
        inside += (tongue * 0.8)[..., None] * (np.array(TONGUE, np.float32) - inside)
        teeth = (1 - _rise((below - TEETH_HEIGHT * middle**0.3) / 0.03 + 0.5)) * _rise(1.4 * middle)
        inside += teeth[..., None] * (np.array(TEETH, np.float32) - inside)
        if self.parted > SMILES * self.unit:  # its own teeth
            own = _rise((lower - y) / (0.03 * self.unit))[..., None]
            inside += own * (self.photo - inside)
        zone = (middle > 0) & (below > -0.1) & (below < 0.5)
        return np.where(zone[..., None], inside.clip(0, 255), self.photo).astype(np.uint8)

    def _around_mouth(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of what the lips and the jaw move, px."""
        x, y = self.marks[list(MOUTH_CORNERS)].mean(0)
        chin, unit = self.marks[CHIN, 1], self.unit
        return x - unit, y - 0.65 * unit, x + unit, chin + (NECK_REACH + JAW_DROP) * unit

    def _around_eye(self, curves: Curves) -> tuple[float, float, float, float]:
        unit, middle = self.unit, curves.upper.mean()
        return curves.x[0] - 0.35 * unit, middle - 0.75 * unit, curves.x[-1] + 0.1 * unit, middle + 0.25 * unit

    # One frame, traced back from the picture to the photograph

    def _turn_back(self, act: Act) -> np.ndarray:
        """(S, S, 2): where each pixel was before the head turned and shifted."""
        pivot = np.array([*self.eyes, 0]) + np.array(NECK_TURN) * self.unit
        rest = np.dstack([self.grid, self.depth]) - pivot.astype(np.float32)
        turned = rest @ _rotation(act)[:2].T.astype(np.float32) + np.float32([act.tx, act.ty]) * self.unit
        shift = self.follow[..., None] * (turned - rest[..., :2])
        source = self.grid - shift
        for _ in range(ROUNDS):  # source + shift(source) = grid
            at = (source - (STEP - 1) / 2) / STEP
            source = self.grid - cv2.remap(shift, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cv2.resize(source, self.photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    def _window(self, where: np.ndarray, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
        """The smallest rectangle of the picture that shows all of a box of the photograph."""
        left, top, right, bottom = box
        x, y = np.moveaxis(where[::STEP, ::STEP], -1, 0)
        shown = (left < x) & (x < right) & (top < y) & (y < bottom)
        ends = [np.flatnonzero(shown.any(axis))[[0, -1]] * STEP for axis in (1, 0)]
        return tuple(slice(first, last + STEP) for first, last in ends)

    def _shape_lips(self, where: np.ndarray, act: Act) -> np.ndarray:
        """Undo smile and rounding."""
        corners = self.marks[list(MOUTH_CORNERS)]
        centre, unit = corners.mean(0), self.unit
        moved = where.copy()
        for corner, outwards in zip(corners, (-1, 1), strict=True):
            pull = act.smile * unit * np.float32([outwards * SMILE[0], -SMILE[1]])
            moved -= _bump(where, corner, 0.3 * unit, 0.3 * unit) * pull
        round_lips = _bump(where, centre, 0.42 * unit, 0.3 * unit)[..., 0]
        moved[..., 0] += ROUNDING * act.pucker * round_lips * (where[..., 0] - centre[0])
        return moved

    def _open_mouth(self, where: np.ndarray, act: Act) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the skin comes from, where the inside of the mouth comes from, and how much of it a pixel shows."""
        x, y, unit = where[..., 0], where[..., 1], self.unit
        upper, lower, middle = self.mouth.at(x)
        wide = middle**0.6  # lips part along most of their width
        # Edges now: shut lips meet a third down in the photographed gap
        lip = upper + (1 - act.open) * (lower - upper) / 3 - LIP_LIFT * unit * act.open * wide
        jaw = upper + (1 - act.open) * (lower - upper) / 3 + JAW_DROP * unit * act.open * wide
        above = y - (lip - upper) * (1 - _rise((lip - y) / (LIP_REACH * unit)))

        chin_line = self.marks[CHIN, 1]
        chin_drop = JAW_DROP * unit * act.open - self.parted * 2 / 3 * (1 - act.open)
        chin_drop = chin_drop * (1 - _rise(abs(x - self.marks[CHIN, 0]) / (JAW_REACH * unit)))
        to_chin = _rise((y - jaw) / (0.8 * (chin_line - lower)))
        down_neck = _rise((y - chin_line - chin_drop) / (NECK_REACH * unit))
        below = y - ((1 - to_chin) * (jaw - lower) + to_chin * chin_drop) * (1 - down_neck)

        upper_half = y < (lip + jaw) / 2
        skin = np.dstack([x, np.where(upper_half, np.minimum(above, upper), np.maximum(below, lower))])
        return skin.astype(np.float32), where, _coverage(y, lip, jaw)

    def _raise_brow(self, where: np.ndarray, brow: int, act: Act) -> np.ndarray:
        centre = self.marks[brow] - [0, 0.06 * self.unit]
        raised = self.brows * self.unit * act.brow * _bump(where, centre, 0.34 * self.unit, 0.13 * self.unit)
        return where + raised * np.float32([0, 1])

    def _open_eye(self, where: np.ndarray, curves: Curves, act: Act) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `_open_mouth`: skin, eyeball, and how much of the eyeball a pixel shows."""
        unit = self.unit
        centre = np.array([curves.x.mean(), (curves.upper + curves.lower).mean() / 2])
        # Looking up or down takes the lids along
        where = where - act.gy * GAZE[1] * unit * _bump(where, centre, 0.15 * unit, 0.1 * unit) * np.float32([0, 1])
        x, y = where[..., 0], where[..., 1]
        upper, lower, middle = curves.at(x)
        lid = upper + SHUT * act.blink * (lower - upper)
        stretched = upper - (lid - y) * LID_SKIN * unit / (LID_SKIN * unit + lid - upper)
        above = np.where(y > upper - LID_SKIN * unit, np.minimum(stretched, upper), y)
        skin = np.dstack([x, np.where(y < (lid + lower) / 2, above, np.maximum(y, lower))])

        # The iris slides between lids that stay: the same part of the way from one to the other
        from_x = x - act.gx * GAZE[0] * unit * middle
        from_upper, from_lower, _ = curves.at(from_x)
        part = (y - upper) / np.maximum(lower - upper, 1e-3)
        eyeball = np.dstack([from_x, from_upper + part * (from_lower - from_upper)])
        return skin.astype(np.float32), eyeball.astype(np.float32), _coverage(y, lid, lower)


def _rotation(act: Act) -> np.ndarray:
    """(3, 3) for x right, y down, z away."""
    yaw, pitch, roll = np.radians([-act.yaw, act.pitch, -act.roll])
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_z @ about_x @ about_y


def _rise(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _fill(outline: np.ndarray, size: int) -> np.ndarray:
    """(size, size) in [0, 1]: 1 inside a polygon (n, 2) px, its border two pixels soft."""
    fine = 4
    mask = np.zeros((size * fine, size * fine), np.float32)
    cv2.fillPoly(mask, [np.round((outline + 0.5) * fine - 0.5).astype(np.int32)], 1)
    return cv2.GaussianBlur(cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA), (0, 0), 0.6)


def _without(photo: np.ndarray, matte: np.ndarray, rim: int) -> np.ndarray:
    """The photograph with the head and a rim of px around it filled in from what stands beside."""
    hidden = cv2.dilate((matte > 0.1).astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8))
    return cv2.inpaint(photo, hidden, 3, cv2.INPAINT_TELEA)


def _sampled(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    """float32: a picture (S, S, ...) at the places (h, w, 2), px."""
    return cv2.remap(picture, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT).astype(np.float32)


def _bump(where: np.ndarray, centre: np.ndarray, width: float, height: float) -> np.ndarray:
    """(..., 1): 1 at the centre, a Gaussian around it."""
    x, y = np.moveaxis((where - np.float32(centre)) / np.float32([width, height]), -1, 0)
    return np.exp(-0.5 * (x * x + y * y))[..., None]


def _coverage(y: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Part of the pixel at y that lies between two edges: soft borders, and nothing where the edges meet."""
    return np.clip(bottom - y + 0.5, 0, 1) - np.clip(top - y + 0.5, 0, 1)
