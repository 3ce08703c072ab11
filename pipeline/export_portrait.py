"""Write a portrait as one ONNX file, motion parameters in and picture out, in full or in half precision."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.generator import Generator
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.motion import Motion, Transfer, join, load_motion, neutral, take, transferred
from pipeline.onnx_files import open_onnx, run_onnx, save_onnx
from pipeline.portrait import Portrait, load_portrait
from pipeline.provenance import NO_CONFIG, RENDERED, record

CHECKED = 100  # frames of the drivers on which the file must agree with torch
TOLERANCE = 2.0  # grey levels of 255
AT_ONCE = 10  # frames
UNITS = {
    "pose": "(B, 6) rad: head axis-angle, jaw axis-angle; x right, y up, z to the viewer",
    "expression": "(B, 50) 1 = 5 % of the eye distance, 0 at the person's neutral face",
    "gaze": "(B, 2) rad: yaw, pitch; to the camera (0, 0), to the left of the image and up positive",
    "position": "(B, 3) x, y of the face's centre and its size; the image spans [-1, 1], y down",
}


class Rendered(nn.Module):
    """A portrait as a function of motion alone: the one code that renders it is inside."""

    def __init__(self, generator: Generator, code: Tensor):
        super().__init__()
        self.generator = generator
        self.register_buffer("appearance", code)

    def forward(self, pose: Tensor, expression: Tensor, gaze: Tensor, position: Tensor | None = None) -> Tensor:
        """(B, d) each -> (B, 3, S, S) in [0, 1]."""
        motion = {"pose": pose, "expression": expression, "gaze": gaze, "position": position}
        image, _ = self.generator(motion, self.appearance.expand(pose.shape[0], -1))
        return image


class ToHalf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.half()


def main(
    *,
    portrait: Path,
    driver_face: list[Path],
    driver_gaze: list[Path],
    transfer: Transfer,
    precision: Literal["full", "half"],
    out: Path,
) -> None:
    """Export a portrait.

    Args:
        portrait: of the target, driven by video.
        driver_face, driver_gaze: stores of clips whose motion the file is checked on.
        transfer: how a driver's motion becomes the target's, "relative" or "direct".
        precision: of the decoder; all else, and what goes in and out, is in single precision.
        out: the file.
    """
    person = load_portrait(portrait, torch.device("cpu"))
    if person.layout.driving != "video":
        raise InputError(f"{portrait}: is driven by sound, which no file takes; export the one that videos drive")
    motion = some_frames(driver_face, driver_gaze, person, transfer)
    true = pictures(Rendered(person.generator, person.code), motion)
    generator = person.generator if precision == "full" else halved(person.generator)
    about = described(person, record("pipeline.export_portrait", [portrait], NO_CONFIG))
    save_onnx(out, Rendered(generator, person.code), take(motion, slice(2)), ["image"], about, batch="frames")
    try:
        require_agreement(out, motion, true)
    except InputError:
        out.unlink()
        raise


def some_frames(faces: list[Path], gazes: list[Path], person: Portrait, how: Transfer) -> Motion:
    """Frames (CHECKED, d) evenly through the drivers, as the target's parameters, in the network's order."""
    shown = []
    for face, gaze in zip(faces, gazes, strict=True):
        motion, valid = load_motion(face, gaze)
        shown.append(transferred(motion, neutral(take(motion, valid)), person.neutral, how))
    motion = join(shown)
    index = torch.linspace(0, len(motion["pose"]) - 1, CHECKED).round().long()
    return {name: motion[name][index] for name in person.generator.inputs}


def halved(generator: Generator) -> Generator:
    """A copy that decodes in half precision; in the MLP, that would cost grey levels."""
    generator = deepcopy(generator)
    for part in (generator.trunk, generator.up1, generator.up2, generator.out):
        part.half()
    generator.trunk = nn.Sequential(ToHalf(), generator.trunk)
    return generator.eval()  # which folds the weights anew


@torch.inference_mode()
def pictures(network: Rendered, motion: Motion) -> np.ndarray:
    """(N, 3, S, S) in [0, 1]."""
    parts = [network(*take(motion, slice(start, start + AT_ONCE)).values()) for start in range(0, CHECKED, AT_ONCE)]
    return torch.cat(parts).numpy()


def require_agreement(path: Path, motion: Motion, true: np.ndarray) -> None:
    """Raise an InputError where the file's pictures are further than TOLERANCE from torch's, (N, 3, S, S)."""
    session = open_onnx(path)
    worst = 0.0
    for start in range(0, CHECKED, AT_ONCE):
        some = slice(start, start + AT_ONCE)
        image = run_onnx(session, take(motion, some))["image"]
        worst = max(worst, float(abs(image - true[some]).max() * 255))
    print(f"{path}: at most {worst:.2g}/255 from torch in {CHECKED} frames")
    if not worst <= TOLERANCE:
        raise InputError(
            f"{path}: up to {worst:.3g}/255 from torch, {TOLERANCE:g} are allowed; render with the .pt file instead"
        )


def described(person: Portrait, made: dict) -> dict[str, str]:
    """What the file says of itself."""
    names = list(person.generator.inputs)
    return {
        "title": RENDERED,
        "synthetic": "true",
        "licence": "the portrait is its person's: show it with their consent; the code's licence does not cover it",
        "inputs": json.dumps({name: UNITS[name] for name in names}),
        "output": "(B, 3, S, S) RGB in [0, 1]",
        "neutral": json.dumps({name: person.neutral[name][0].tolist() for name in names}),
        "layout": json.dumps(vars(person.layout)),
        "provenance": json.dumps(made),
    }


if __name__ == "__main__":
    run(main)
