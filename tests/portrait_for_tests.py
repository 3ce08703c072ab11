"""A portrait that has learned nothing."""

from pathlib import Path

import torch

from pipeline import export_portrait
from pipeline.motion import WIDTHS
from pipeline.portrait import Layout, Portrait, build_generator, save_portrait

LAYOUT = {"width": 8, "layers": 2, "channels": 8, "blocks": 1, "fine_blocks": 0, "code": 4}


def save_untrained(path: Path, size: int, frames: int = 4) -> None:
    torch.manual_seed(0)
    layout = Layout(size=size, **LAYOUT, upsampling="bilinear", position=True, driving="video")
    still = {name: torch.zeros(1, width) for name, width in WIDTHS["video"].items()}
    still["position"] += torch.tensor([0.0, 0.0, 0.5])
    save_portrait(path, Portrait(build_generator(layout), torch.zeros(frames, 4), layout, still, torch.arange(frames)))


def export_untrained(folder: Path, clip: dict[str, Path], *, name: str, size: int) -> Path:
    """Such a portrait, stage2.pt in the folder, as an ONNX file of that name beside it, checked on a clip's motion."""
    save_untrained(folder / "stage2.pt", size)
    out = folder / f"{name}.onnx"
    driver = {"driver_face": [clip["face"]], "driver_gaze": [clip["gaze"]], "transfer": "relative"}
    export_portrait.main(portrait=folder / "stage2.pt", **driver, precision="full", out=out)
    return out
