"""Write the face tracker as three ONNX files: find a face, read it, and take a person's neutral face."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.face_parameters import REFERENCE
from models.live_face import FRAME, NEUTRAL_FRAMES, FaceFinder, FaceReader, Neutral, NeutralFace, Reading
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.manifest import find
from pipeline.onnx_files import open_onnx, run_onnx, save_onnx
from pipeline.provenance import NO_CONFIG, record

TOLERANCE = 1e-3  # of each output's largest number
ABOUT = {
    "title": "MediaPipe's face networks with MyPortrait's face parameters",
    "licence": "Apache-2.0 (the networks)",
    "frame": f"({FRAME}, {FRAME}, 4) uint8 RGBA",
    "box": "(1, 4) centre x, y and side in px of the frame, roll in rad, clockwise",
}


def main(*, networks: Path, find_face: Path, read_face: Path, fit_neutral: Path) -> None:
    """Export the tracker.

    Args:
        networks: folder of MediaPipe's files.
        find_face: frame -> box, score in [0, 1].
        read_face: frame, box, neutral -> landmarks, presence, next_box and the parameters; see models.live_face.
        fit_neutral: landmarks of some frames -> neutral and the motion at rest.
    """
    reference = torch.from_numpy(np.load(REFERENCE)).float()
    noise = torch.Generator().manual_seed(0)
    frame = torch.randint(0, 256, (FRAME, FRAME, 4), generator=noise, dtype=torch.uint8)
    box = torch.tensor([[FRAME / 2, FRAME / 2, FRAME / 2, 0.1]])
    landmarks = reference * FRAME / 4 + FRAME / 2 + torch.randn(NEUTRAL_FRAMES, 478, 3, generator=noise)
    detector, mesh = find("face_detector", networks), find("face_mesh", networks)
    about = ABOUT | {"provenance": json.dumps(record("pipeline.export_tracker", [detector, mesh], NO_CONFIG))}
    for path, network, inputs, outputs in (
        (find_face, FaceFinder(detector), {"frame": frame}, ["box", "score"]),
        (read_face, FaceReader(mesh), {"frame": frame, "box": box, "neutral": reference}, list(Reading._fields)),
        (fit_neutral, NeutralFace(), {"landmarks": landmarks}, list(Neutral._fields)),
    ):
        save_onnx(path, network.eval(), inputs, outputs, about)
        require_agreement(path, network, inputs)


@torch.inference_mode()
def require_agreement(path: Path, network: nn.Module, inputs: dict[str, Tensor]) -> None:
    """Delete the file and raise an InputError where it says anything else than torch."""
    true = network(*inputs.values())
    found = run_onnx(open_onnx(path), inputs)
    for (name, value), wanted in zip(found.items(), true, strict=True):
        apart, most = abs(value - wanted.numpy()).max(), wanted.abs().max().clamp_min(1e-3).item()
        if not apart <= TOLERANCE * most:
            path.unlink()
            raise InputError(f"{path}: its {name} is {apart:.3g} from torch's; this onnxruntime cannot be used")


if __name__ == "__main__":
    run(main)
