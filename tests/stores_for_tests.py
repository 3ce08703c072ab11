"""Tiny clips written straight into stores: a bright disc that moves over a dark ground, its motion known."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline import stores


def face_of(frames: int, size: int = 32, **changes) -> stores.Face:
    """A face that sways; `changes` replace datasets."""
    phase = np.linspace(0, 4 * np.pi, frames, dtype=np.float32)
    still = np.zeros(frames, np.float32)
    expression = np.random.default_rng(0).normal(size=(frames, 50)).astype(np.float32)
    centre = np.stack([0.4 * np.sin(phase), 0.3 * np.cos(phase), still + 0.5], 1)
    pose = np.stack([still, 0.3 * np.sin(phase), 0.1 * np.cos(phase), still, still, still], 1)
    data = {
        "pose": pose,
        "expression": expression,
        "position": centre,
        "landmarks": np.zeros((frames, 68, 2), np.float32) + size / 2,
        "mesh": np.zeros((frames, 478, 3), np.float32) + size / 2,
        "neutral": np.zeros((478, 3), np.float32),
        "valid": np.ones(frames, bool),
        "tracker": "test",
        "weights": "",
    }
    return stores.Face(**data | changes)


def pictures_of(face: stores.Face, size: int) -> np.ndarray:
    """(N, size, size, 3) uint8: the disc at the face's position."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    distance = np.hypot(x - face.position[:, 0, None, None], y - face.position[:, 1, None, None])
    disc = np.clip((0.5 - distance) * 8 + 0.5, 0, 1)
    return (disc[..., None] * np.array([220, 160, 120]) + 20).astype(np.uint8)


def write_clip(folder: Path, frames: int = 24, size: int = 32, **changes) -> dict[str, Path]:
    """Write frames.h5, face.h5 and gaze.h5 of a tiny clip; their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    face = face_of(frames, size, **changes)
    paths = {name: folder / f"{name}.h5" for name in ("frames", "face", "gaze")}
    with stores.FramesWriter(
        paths["frames"], size=size, fps=Fraction(25), box=(0, 0, size), source="disc.mp4", sha256="0" * 64
    ) as writer:
        writer.append(pictures_of(face, size))
    stores.write_face(paths["face"], replace(face, clip=writer.identity))
    gaze = stores.Gaze(np.zeros((frames, 2), np.float32) + 0.1, np.ones(frames, bool), "test", "", writer.identity)
    stores.write_gaze(paths["gaze"], gaze)
    return paths
