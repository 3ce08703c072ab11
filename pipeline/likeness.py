"""Figures that networks give: LPIPS, FID and CSIM over whole clips. Each comes with what it was measured with."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from pipeline import metrics
from pipeline.files import sha256
from pipeline.trackers import Batches

Face = tuple[np.ndarray, np.ndarray]  # a frame (H, W, 3) uint8 and its landmarks (68, 2) px
Pair = tuple[Face, Face]


def lpips(result: Batches, truth: Batches, weights: Path) -> tuple[float, str]:
    """LPIPS, the mean over the frames of two clips."""
    pairs = zip(result(), truth(), strict=True)
    rows = [metrics.lpips(pictures(images), pictures(same), weights) for images, same in pairs]
    return float(torch.cat(rows).mean()), f"AlexNet, {named(weights)}, and the lpips package's 0.1; against the truth"


@torch.inference_mode()
def fid(result: Batches, real: Batches, weights: Path, device: torch.device) -> tuple[float, str]:
    """Fréchet distance between the Inception features of two clips."""
    from models.inception import load_inception  # brings torchvision, seconds to import

    net = load_inception(weights).to(device)
    moments, counts = [], []
    for clip in (result, real):
        features = torch.cat([net(pictures(frames).to(device)).double().cpu() for frames in clip()])
        moments += [features.mean(0).numpy(), features.T.cov().numpy()]
        counts.append(len(features))
    what = f"pytorch-fid's Inception, {named(weights)}; {counts[0]} frames against all {counts[1]} of the target's clip"
    return metrics.frechet_distance(*moments), what


@torch.inference_mode()
def csim(pairs: Iterable[Pair], weights: Path, device: torch.device) -> tuple[float, str]:
    """Cosine similarity of identity, the mean over pairs of faces."""
    from models.arcface import align_face, five_points, load_arcface

    net = load_arcface(weights).to(device)
    rows = []
    for pair in pairs:
        faces = np.stack([align_face(frame, five_points(landmarks)) for frame, landmarks in pair])
        rows.append(net(pictures(faces).to(device) * 2 - 1).float().cpu().numpy())
    what = f"identity network {named(weights)}; against the learned frame of the target whose motion is nearest"
    return float(metrics.cosine(*np.stack(rows, 1)).mean()), what


def named(weights: Path) -> str:
    return f"{weights.name} (sha256 {sha256(weights)[:12]})"


def pictures(frames: np.ndarray) -> torch.Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
