"""The HDF5 stores: the only module that knows their layout.

One file per clip and tracker, each with one writer:

    frames.h5  frames (N,S,S,3) uint8 RGB, time (N,) s        fps "num/den", box (x, y, side) source px, source, sha256,
                                                              identity
    face.h5    pose (N,6) rad, expression (N,50), position (N,3), landmarks (N,68,2) px of the frames,
               mesh (N,478,3) px, neutral (478,3), valid (N,)  tracker, weights, units
    gaze.h5    gaze (N,2) yaw and pitch in rad, valid (N,)     tracker, weights, units
    audio.h5   audio (N,16,29), one window per frame           extractor, weights, rate

Every file carries `kind` and `schema`, and all but the frames `clip`, the identity of the frames they belong to.
Reading checks these, the shapes, the checksum of every chunk, that every number is finite, and that all is in the file
itself: no link is followed.
Arrays are filled for every frame: where `valid` is false they hold values bridged from the frames around.
"""

import hashlib
import io
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from pipeline.errors import InputError
from pipeline.files import reason, whole

SCHEMA = 2
Store = TypeVar("Store")
Rows = np.ndarray | h5py.Dataset
CHUNK = 1024  # frames of a long array in memory at once
CHECKED = {"fletcher32": True}  # a checksum on every chunk


@dataclass(frozen=True)
class Frames:
    """An open frame store. `frames` is read from disk as it is sliced, so a clip may be longer than memory."""

    frames: h5py.Dataset  # (N, S, S, 3) uint8 RGB
    time: np.ndarray  # (N,) seconds from the first frame
    fps: Fraction
    box: tuple[float, float, float]  # left, top, side of the crop in source pixels
    source: str  # file name of the clip
    sha256: str  # of the clip
    identity: str  # digest of these very frames, their rate and place in the clip

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
    mesh: Rows  # (N, 478, 3) px of the stored frames, or (N, 0, 3) from a tracker without one; read as it is sliced
    neutral: np.ndarray  # (478, 3) the person's neutral mesh, eye distance 1, or (0, 3)
    valid: np.ndarray  # (N,) bool: tracked, not bridged
    tracker: str
    weights: str  # sha256 of the weights in use
    clip: str = ""  # identity of the frames, which the step knows and the tracker does not

    @property
    def has_mesh(self) -> bool:
        return self.mesh.shape[1:] == (478, 3)

    def since(self, start: int) -> "Face":
        """The frames from `start` on, without the mesh, which may be long and stays on disk."""
        names = ("pose", "expression", "position", "landmarks", "valid")
        parts = {name: getattr(self, name)[start:] for name in names}
        return replace(self, **parts, mesh=np.empty((len(parts["valid"]), 0, 3), np.float32))


@dataclass(frozen=True)
class Gaze:
    """Gaze direction in each of N frames."""

    gaze: np.ndarray  # (N, 2) yaw, pitch, rad, camera frame as Gaze360
    valid: np.ndarray  # (N,) bool: eyes open and tracked
    tracker: str
    weights: str
    clip: str = ""


@dataclass(frozen=True)
class Audio:
    """One window of sound features per video frame."""

    audio: np.ndarray  # (N, 16, 29) float32
    rate: float  # rows of a window per second
    extractor: str
    weights: str
    clip: str = ""


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
DTYPES = {"frames": "u1", "time": "f8"} | {name: of for kind in SHAPES.values() for name, (_, of) in kind.items()}
UNITS = {
    "face": "pose: rad; expression: 1 = 5 % of the eye distance; position: crop units [-1, 1]; landmarks, mesh: px",
    "gaze": "rad",
    "audio": "the extractor's: log power, or logits",
}


def scratch(length: int, *shape: int) -> h5py.Dataset:
    """(length, *shape) float32 on disk, for what would fill memory; gone with the last reference.

    Raises:
        InputError: the disk has too little room.
    """
    folder, needed = tempfile.gettempdir(), 4 * length * math.prod(shape)
    if shutil.disk_usage(folder).free < needed:
        raise InputError(
            f"{folder}: {needed / 1e6:.0f} MB are needed there for a while; make room, or name another folder in TMPDIR"
        )
    return h5py.File(tempfile.TemporaryFile(), "w").create_dataset("scratch", (length, *shape), "f4")


def chunks(rows: Rows) -> Iterator[np.ndarray]:
    """All of an array, `CHUNK` frames at once."""
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))


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


def require_one_clip(first: Path, *others: Path) -> None:
    """Raise an InputError unless these stores, of any kind, belong to the same frames and are as long."""
    clip, length = _belongs(first)
    for path in others:
        its_clip, its_length = _belongs(path)
        if its_clip != clip:
            raise InputError(f"{path}: belongs to other frames than {first}; delete it and run again")
        if its_length != length:
            raise InputError(f"{path}: {its_length} frames where {first} has {length}; delete it and run again")


class FramesWriter:
    """Append frames one batch at a time; the file appears only when the `with` block ends well.

    `identity` is known then.
    """

    def __init__(
        self, path: Path, *, size: int, fps: Fraction, box: tuple[float, float, float], source: str, sha256: str
    ):
        self._size, self._fps = size, Fraction(fps)
        self._about = {"fps": f"{self._fps.numerator}/{self._fps.denominator}", "box": box}
        self._origin = {"source": source, "sha256": sha256}
        self._digest = hashlib.sha256(repr(self._about).encode())
        self._new = _create(path, "frames")

    def __enter__(self) -> "FramesWriter":
        self._file, self._disk = self._new.__enter__()
        self._file.attrs.update(self._about | self._origin)
        shape = (self._size, self._size, 3)
        self._frames = self._file.create_dataset(
            "frames", (0, *shape), "u1", maxshape=(None, *shape), chunks=(1, *shape), **CHECKED
        )
        return self

    def append(self, frames: np.ndarray) -> None:
        """Add (n, S, S, 3) uint8 RGB frames."""
        start = len(self._frames)
        self._frames.resize(start + len(frames), axis=0)
        self._frames[start:] = frames
        self._digest.update(np.ascontiguousarray(frames))
        self._disk.check()

    def __exit__(self, kind, value, trace) -> bool | None:
        self.identity = self._digest.hexdigest()
        if kind is None:
            self._file["time"] = np.arange(len(self._frames)) / float(self._fps)
            self._file.attrs["identity"] = self.identity
        return self._new.__exit__(kind, value, trace)


@contextmanager
def open_frames(path: Path) -> Iterator[Frames]:
    """Open a frame store for reading.

    Raises:
        InputError: the file is missing, truncated, not a frame store, or of another schema.
    """
    with _open(path, "frames") as file:
        frames, time = _dataset(path, file, "frames"), _dataset(path, file, "time")[:]
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.shape[1] != frames.shape[2] or len(frames) != len(time):
            raise InputError(
                f"{path}: frames {frames.shape} and time {time.shape} do not belong together; delete it and run again"
            )
        if len(time) == 0:
            raise InputError(f"{path}: holds no frame; delete it and run again")
        fps = Fraction(_attribute(path, file, "fps"))
        wrong = np.flatnonzero(~np.isclose(time, np.arange(len(time)) / float(fps)))
        if len(wrong):
            raise InputError(
                f"{path}: frame {wrong[0]} is at {time[wrong[0]]:.3f} s, which is not its time at {fps} frames/s; "
                "delete it and run again"
            )
        box = tuple(float(value) for value in _attribute(path, file, "box"))
        origin = (str(_attribute(path, file, name)) for name in ("source", "sha256", "identity"))
        yield Frames(frames, time, fps, box, *origin)


class _Disk(io.FileIO):
    """A file that HDF5 writes to, which crashes where a disk refuses: this one goes on as if nothing had happened, and
    `check` tells."""

    refusal: OSError | None = None

    def write(self, data) -> int:
        rest = memoryview(data).cast("B")
        try:
            while len(rest) and self.refusal is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.refusal = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.refusal = self.refusal or error
            return size or 0

    def check(self) -> None:
        if self.refusal is not None:
            raise self.refusal


@contextmanager
def _create(path: Path, kind: str) -> Iterator[tuple[h5py.File, _Disk]]:
    """A new store, there when the block ends well."""
    with whole(path) as temporary, _Disk(temporary, "w+") as disk:
        with h5py.File(disk, "w") as file:
            file.attrs.update(kind=kind, schema=SCHEMA)
            yield file, disk
        disk.check()


def _write(path: Path, kind: str, store: Face | Gaze | Audio) -> None:
    _check(path, kind, {name: getattr(store, name) for name in SHAPES[kind]})
    with _create(path, kind) as (file, _):
        file.attrs["units"] = UNITS[kind]
        for field in fields(store):
            value = getattr(store, field.name)
            if field.name in SHAPES[kind]:
                checked = CHECKED if value.size else {}
                data = file.create_dataset(field.name, value.shape, SHAPES[kind][field.name][1], **checked)
                for start in range(0, len(value), CHUNK):
                    data[start : start + CHUNK] = value[start : start + CHUNK]
            else:
                file.attrs[field.name] = value


def _read(path: Path, kind: str, store: type[Store]) -> Store:
    with _open(path, kind) as file:
        data = {name: _dataset(path, file, name) for name in SHAPES[kind]}
        _check(path, kind, data)
        data = {name: data[name][:] for name in SHAPES[kind] if name != "mesh"}
        names = [field.name for field in fields(store) if field.name not in SHAPES[kind]]
        attributes = {name: _attribute(path, file, name) for name in names}
    if "mesh" in SHAPES[kind]:
        data["mesh"] = h5py.File(path, "r")["mesh"]  # stays open as long as it is in use
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
        finite = [np.isfinite(rows).all(tuple(range(1, array.ndim))) for rows in chunks(array)]
        bad = np.flatnonzero(~np.concatenate(finite)) if finite else []
        if len(bad):
            raise InputError(f"{path}: {name} is not a finite number at frame {bad[0]}; delete it and run again")


def _belongs(path: Path) -> tuple[str, int]:
    """Identity of the frames that a store of any kind belongs to, and its number of frames."""
    with _open(path, *SHAPES, "frames") as file:
        kind = file.attrs["kind"]
        name, first = ("identity", "frames") if kind == "frames" else ("clip", next(iter(SHAPES[kind])))
        return str(_attribute(path, file, name)), len(_dataset(path, file, first))


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """An array that is in the file itself, of the type it should have."""
    link = file.get(name, getlink=True)
    if link is None:
        raise InputError(f"{path}: lacks {name}; delete it and run again")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{path}: {name} is a link and leads elsewhere; delete it and run again")
    data = file[name]
    if not isinstance(data, h5py.Dataset) or data.ndim == 0:
        raise InputError(f"{path}: {name} is not an array; delete it and run again")
    if data.external or data.is_virtual:
        raise InputError(f"{path}: {name} lies in another file; delete it and run again")
    if data.dtype != DTYPES[name]:
        raise InputError(f"{path}: {name} holds {data.dtype}, not {np.dtype(DTYPES[name])}; delete it and run again")
    return data


def _attribute(path: Path, file: h5py.File, name: str):
    if name not in file.attrs:
        raise InputError(f"{path}: does not say its {name}; delete it and run again")
    return file.attrs[name]


@contextmanager
def _open(path: Path, *kinds: str) -> Iterator[h5py.File]:
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the workflow makes it from the clip") from None
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({reason(error)}); delete it and run again") from None
    with file, _damage_named(path):
        kind = file.attrs.get("kind", "foreign")
        if kind not in kinds:
            raise InputError(f"{path}: is a {kind} store, not a {' or '.join(kinds)} store")
        if file.attrs.get("schema") != SCHEMA:
            raise InputError(
                f"{path}: schema {file.attrs.get('schema')}, this version reads {SCHEMA}; delete it and run again"
            )
        yield file


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn HDF5's complaint of what it reads, which has no errno as the system's have, into one that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise InputError(f"{path}: is damaged ({reason(error)}); delete it and run again") from None
