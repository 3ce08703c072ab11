"""The HDF5 stores: the only module that knows their layout.

One file per clip and tracker, each with one writer:

    frames.h5  frames (N,S,S,3) uint8 RGB, time (N,) s        fps "num/den", box (x, y, side) source px, source, sha256
    face.h5    pose (N,6) rad, expression (N,50), position (N,3), landmarks (N,68,2) px of the frames,
               mesh (N,478,3) px, neutral (478,3), valid (N,)  tracker, weights, units
    gaze.h5    gaze (N,2) yaw and pitch in rad, valid (N,)     tracker, weights, units
    audio.h5   audio (N,16,29), one window per frame           extractor, weights, rate

Every file carries `kind` and `schema`; reading checks both, the shapes, and that every number is finite.
Arrays are filled for every frame: where `valid` is false they hold values bridged from the frames around.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from pipeline.errors import InputError
from pipeline.files import whole

SCHEMA = 1
Store = TypeVar("Store")


@dataclass(frozen=True)
class Frames:
    """An open frame store. `frames` is read from disk as it is sliced, so a clip may be longer than memory."""

    frames: h5py.Dataset  # (N, S, S, 3) uint8 RGB
    time: np.ndarray  # (N,) seconds from the first frame
    fps: Fraction
    box: tuple[float, float, float]  # left, top, side of the crop in source pixels
    source: str  # file name of the clip
    sha256: str  # of the clip

    def __len__(self) -> int:
        return len(self.time)

    @property
    def size(self) -> int:
        return self.frames.shape[1]

    def batches(self, count: int) -> Callable[[], Iterator[np.ndarray]]:
        """For a tracker: each call reads all frames from the first again, `count` at once."""
        return lambda: (self.frames[start : start + count] for start in range(0, len(self), count))


@dataclass(frozen=True)
class Face:
    """What the face tracker found in each of N frames."""

    pose: np.ndarray  # (N, 6) head axis-angle, jaw axis-angle, rad; x right, y up, z to the viewer
    expression: np.ndarray  # (N, 50), 0 at the person's neutral face
    position: np.ndarray  # (N, 3) face centre x, y and size, crop units [-1, 1]
    landmarks: np.ndarray  # (N, 68, 2) px of the stored frames, the usual 68-point order
    mesh: np.ndarray  # (N, 478, 3) px of the stored frames, or (N, 0, 3) from a tracker without one
    neutral: np.ndarray  # (478, 3) the person's neutral mesh, eye distance 1, or (0, 3)
    valid: np.ndarray  # (N,) bool: tracked, not bridged
    tracker: str
    weights: str  # sha256 of the weights in use


@dataclass(frozen=True)
class Gaze:
    """Gaze direction in each of N frames."""

    gaze: np.ndarray  # (N, 2) yaw, pitch, rad, camera frame as Gaze360
    valid: np.ndarray  # (N,) bool: eyes open and tracked
    tracker: str
    weights: str


@dataclass(frozen=True)
class Audio:
    """One window of sound features per video frame."""

    audio: np.ndarray  # (N, 16, 29) float32
    rate: float  # rows of a window per second
    extractor: str
    weights: str


SHAPES = {  # trailing shape and dtype of each dataset; None: any length
    "face": {
        "pose": ((6,), "f4"),
        "expression": ((50,), "f4"),
        "position": ((3,), "f4"),
        "landmarks": ((68, 2), "f4"),
        "mesh": ((None, 3), "f4"),
        "neutral": ((3,), "f4"),
        "valid": ((), "?"),
    },
    "gaze": {"gaze": ((2,), "f4"), "valid": ((), "?")},
    "audio": {"audio": ((16, 29), "f4")},
}
UNITS = {
    "face": "pose: rad; expression: 1 = 5 % of the eye distance; position: crop units [-1, 1]; landmarks, mesh: px",
    "gaze": "rad",
    "audio": "the extractor's: log power, or logits",
}


def write_face(path: Path, face: Face) -> None:
    _write(path, "face", face)


def write_gaze(path: Path, gaze: Gaze) -> None:
    _write(path, "gaze", gaze)


def write_audio(path: Path, audio: Audio) -> None:
    _write(path, "audio", audio)


def read_face(path: Path) -> Face:
    return _read(path, "face", Face)


def read_gaze(path: Path) -> Gaze:
    return _read(path, "gaze", Gaze)


def read_audio(path: Path) -> Audio:
    return _read(path, "audio", Audio)


class FramesWriter:
    """Append frames one batch at a time; the file appears only when the `with` block ends well."""

    def __init__(
        self, path: Path, *, size: int, fps: Fraction, box: tuple[float, float, float], source: str, sha256: str
    ):
        self._whole = whole(path)
        self._file = h5py.File(self._whole.__enter__(), "w")
        self._file.attrs.update(
            kind="frames",
            schema=SCHEMA,
            fps=f"{fps.numerator}/{fps.denominator}",
            box=box,
            source=source,
            sha256=sha256,
        )
        self._fps = fps
        self._frames = self._file.create_dataset(
            "frames", (0, size, size, 3), "u1", maxshape=(None, size, size, 3), chunks=(1, size, size, 3)
        )

    def __enter__(self) -> "FramesWriter":
        return self

    def append(self, frames: np.ndarray) -> None:
        """Add (n, S, S, 3) uint8 RGB frames."""
        start = len(self._frames)
        self._frames.resize(start + len(frames), axis=0)
        self._frames[start:] = frames

    def __exit__(self, kind, value, trace) -> None:
        if kind is None:
            self._file["time"] = np.arange(len(self._frames)) / float(self._fps)
        self._file.close()
        self._whole.__exit__(kind, value, trace)


@contextmanager
def open_frames(path: Path) -> Iterator[Frames]:
    """Open a frame store for reading.

    Raises:
        InputError: the file is missing, truncated, not a frame store, or of another schema.
    """
    with _open(path, "frames") as file:
        frames, time = file["frames"], file["time"][:]
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.shape[1] != frames.shape[2] or len(frames) != len(time):
            raise InputError(
                f"{path}: frames {frames.shape} and time {time.shape} do not belong together; delete it and run again"
            )
        if len(time) == 0:
            raise InputError(f"{path}: holds no frame; delete it and run again")
        attrs = file.attrs
        box = tuple(float(value) for value in attrs["box"])
        yield Frames(frames, time, Fraction(attrs["fps"]), box, str(attrs["source"]), str(attrs["sha256"]))


def _write(path: Path, kind: str, store: Face | Gaze | Audio) -> None:
    _check(path, kind, {name: np.asarray(getattr(store, name)) for name in SHAPES[kind]})
    with whole(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(kind=kind, schema=SCHEMA, units=UNITS[kind])
        for field in fields(store):
            value = getattr(store, field.name)
            if field.name in SHAPES[kind]:
                file[field.name] = np.asarray(value, SHAPES[kind][field.name][1])
            else:
                file.attrs[field.name] = value


def _read(path: Path, kind: str, store: type[Store]) -> Store:
    with _open(path, kind) as file:
        missing = [name for name in SHAPES[kind] if name not in file]
        if missing:
            raise InputError(f"{path}: lacks {', '.join(missing)}; delete it and run again")
        data = {name: file[name][:] for name in SHAPES[kind]}
        attributes = {field.name: file.attrs[field.name] for field in fields(store) if field.name not in data}
    _check(path, kind, data)
    return store(**data, **attributes)


def _check(path: Path, kind: str, data: dict[str, np.ndarray]) -> None:
    length = len(next(iter(data.values())))
    for name, (shape, _) in SHAPES[kind].items():
        array = data[name]
        trailing = array.shape[1:]
        if len(trailing) != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, trailing, strict=True)
        ):
            raise InputError(f"{path}: {name} has shape {array.shape}, expected (N, {', '.join(map(str, shape))})")
        if name != "neutral" and len(array) != length:
            raise InputError(
                f"{path}: {name} has {len(array)} frames where the others have {length}; delete it and run again"
            )
        bad = np.flatnonzero(~np.isfinite(array).all(tuple(range(1, array.ndim))))
        if len(bad):
            raise InputError(f"{path}: {name} is not a finite number at frame {bad[0]}; delete it and run again")


@contextmanager
def _open(path: Path, kind: str) -> Iterator[h5py.File]:
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the workflow makes it from the clip") from None
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error}); delete it and run again") from None
    with file:
        if file.attrs.get("kind") != kind:
            raise InputError(f"{path}: is a {file.attrs.get('kind', 'foreign')} store, not a {kind} store")
        if file.attrs.get("schema") != SCHEMA:
            raise InputError(
                f"{path}: schema {file.attrs.get('schema')}, this version reads {SCHEMA}; delete it and run again"
            )
        yield file
