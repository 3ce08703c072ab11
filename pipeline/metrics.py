"""Figures of merit, each a plain function of arrays.

Images are (H, W, 3) uint8 where nothing else is said; L1 is in [0, 1] as in the paper.
"""

import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import LinAlgWarning, sqrtm
from skimage.metrics import structural_similarity

if TYPE_CHECKING:  # torch takes seconds to import, and most figures do not need it
    from torch import Tensor, nn

MOUTH = slice(48, 68)  # of the 68 landmarks
REACH = 8  # frames of lag that `synchrony` looks at


def l1(image: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute pixel difference, in [0, 1]."""
    return float(np.abs(image.astype(np.float32) - truth).mean() / 255)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio, dB; 100 for equal images."""
    error = np.square(image.astype(np.float32) - truth).mean() / 255**2
    return float(-10 * np.log10(max(error, 1e-10)))


def ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity with the original Gaussian window, mean over the channels, at most 1."""
    return float(
        structural_similarity(
            image, truth, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
    )


def lpips(images1: "Tensor", images2: "Tensor", weights: Path) -> "Tensor":
    """Learned perceptual distance (LPIPS v0.1 with AlexNet, richzhang/PerceptualSimilarity), on the images' device.

    Args:
        images1, images2: (B, 3, H, W) float RGB in [0, 1], 32 px or more.
        weights: torchvision's `alexnet-owt-7be5be79.pth`; its classifier is not used. The weights of the layers come
            with the `lpips` package.

    Returns:
        (B,), 0 for equal images.

    Raises:
        WeightsError: the file is missing, damaged, carries code, or is another network's.
    """
    network = _lpips_network(weights).to(images1.device)
    return network(images1, images2, normalize=True).flatten()


@lru_cache(maxsize=1)
def _lpips_network(weights: Path) -> "nn.Module":
    from lpips import LPIPS
    from torch import nn

    from models.checkpoint import load_strictly, read_checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the package calls torchvision in its old way
        network = LPIPS(net="alex", pnet_rand=True, verbose=False)  # otherwise it would download the trunk
    layers = dict(layer for part in network.net.children() for layer in part.named_children())
    trunk = nn.ModuleDict({"features": nn.ModuleDict(layers)})  # the package's layers by torchvision's names
    state = {key: value for key, value in read_checkpoint(weights).items() if "classifier." not in key}
    load_strictly(trunk, state, weights)
    return network.eval().requires_grad_(False)


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """Fréchet distance of two Gaussians; of Inception features it is the FID, computed as mseitzer/pytorch-fid.

    |mean1 - mean2|^2 + tr(cov1 + cov2 - 2 sqrt(cov1 cov2)), with 1e-6 added to both diagonals where the product has
    no finite root.

    Args:
        mean1, mean2: (d,).
        cov1, cov2: (d, d), unbiased; they may lack rank.

    Raises:
        ValueError: the root has imaginary parts above 1e-3 on its diagonal: these are no covariances.
    """
    mean1, cov1, mean2, cov2 = (np.asarray(values, np.float64) for values in (mean1, cov1, mean2, cov2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # fewer images than features: singular, and still right
        root = sqrtm(cov1 @ cov2)
        if not np.isfinite(root).all():
            offset = 1e-6 * np.eye(len(cov1))
            root = sqrtm((cov1 + offset) @ (cov2 + offset))
    imaginary = np.abs(np.diagonal(root).imag).max()
    if not imaginary <= 1e-3:
        raise ValueError(f"the Fréchet distance has an imaginary part of {imaginary:.3g}: not two covariances")
    return float(np.square(mean1 - mean2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * np.trace(root.real))


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine similarity of each pair of vectors (N, d) -> (N,) in [-1, 1]: CSIM on identity embeddings."""
    return np.einsum("nd,nd->n", a, b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def mouth_box(landmarks: np.ndarray, size: int) -> tuple[slice, slice]:
    """Rows and columns of the mouth in a `size` wide image: the mouth's landmarks (68, 2) px, half as wide again."""
    low, high = landmarks[MOUTH].min(0), landmarks[MOUTH].max(0)
    centre, half = (low + high) / 2, np.maximum((high - low).max() * 0.75, 2)
    start = np.clip(np.floor(centre - half), 0, size - 4).astype(int)
    end = np.clip(np.ceil(centre + half), start + 4, size).astype(int)
    return slice(start[1], end[1]), slice(start[0], end[0])


def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference over frames and dimensions: APD and AED on pose (N, 6) and expression (N, 50)."""
    return float(np.abs(a - b).mean())


def pearson(a: np.ndarray, b: np.ndarray) -> float | None:
    """Correlation of two curves (N,), or None where one of them is flat or holds no numbers."""
    if len(a) < 2 or not (a.std() >= 1e-9 and b.std() >= 1e-9):
        return None
    return float(np.corrcoef(a, b)[0, 1])


def loudness(sound: np.ndarray, frames: int) -> np.ndarray:
    """(T,) samples that last as long as so many frames -> (frames,) dB, the power of each frame's sound."""
    parts = np.array_split(sound.astype(np.float64), frames)
    return np.array([10 * np.log10(np.square(part).mean() + 1e-6) for part in parts])


def synchrony(mouth: np.ndarray, loud: np.ndarray) -> dict[str, float | int | None]:
    """How mouth opening (N,) goes with loudness (N,).

    Returns:
        r: correlation at no lag; lag: frames by which the mouth comes late where they correlate best, within `REACH`;
        r_best: there; r_shuffled: the mouth against the sound of half a clip away, which ought to be near 0.
        Each None where there is no correlation, as of a mouth that stays shut.
    """
    count = len(mouth)
    lags = range(-min(REACH, count // 4), min(REACH, count // 4) + 1)
    rows = {
        lag: pearson(mouth[max(0, lag) : count + min(0, lag)], loud[max(0, -lag) : count - max(0, lag)]) for lag in lags
    }
    found = {lag: r for lag, r in rows.items() if r is not None}
    best = max(found, key=found.get, default=None)
    shuffled = pearson(mouth, np.roll(loud, count // 2))
    return {"r": rows[0], "lag": best, "r_best": found.get(best), "r_shuffled": shuffled}


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """(N, 68, 2) -> (N,) gap between the lips in distances of the outer eye corners, as models.face_parameters has it;
    without torch, which takes seconds to import."""
    return gap(landmarks, (61, 67), (62, 66), (63, 65)) / gap(landmarks, (36, 45))


def eye_opening(landmarks: np.ndarray) -> np.ndarray:
    """(N, 68, 2) -> (N,) gap between the lids over the width of the eyes."""
    return gap(landmarks, (37, 41), (38, 40), (43, 47), (44, 46)) / gap(landmarks, (36, 39), (42, 45))


def gap(landmarks: np.ndarray, *pairs: tuple[int, int]) -> np.ndarray:
    """(N, 68, 2) -> (N,): mean distance between the landmarks of each pair, px."""
    return np.mean([np.linalg.norm(landmarks[:, one] - landmarks[:, other], axis=1) for one, other in pairs], 0)


def landmark_motion(landmarks: np.ndarray, position: np.ndarray, size: int, seen: np.ndarray) -> np.ndarray:
    """(N, 68, 2) px, (N, 3) -> (N, 68, 2): departures of the landmarks from their mean in the frames `seen`, (N,) bool.

    In face sizes: comparable between people, whose faces differ in shape and place.
    """
    face = position[seen, 2].mean() * size / 2
    return (landmarks - landmarks[seen].mean(0)) / face


def landmark_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) distance between two clips' `landmark_motion` in each frame, mean over the landmarks, in face sizes."""
    return np.linalg.norm(a - b, axis=2).mean(1)


def landmark_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance between two clips' `landmark_motion`, in face sizes."""
    return float(landmark_distances(a, b).mean())


def jitter(motion: np.ndarray, seen: np.ndarray) -> float:
    """Mean size of the landmarks' change of velocity per frame, in face sizes; takes `landmark_motion` (N, 68, 2).

    Of the frames that are `seen`, (N,) bool, with both their neighbours; 0 where there is none.
    """
    inner = seen[:-2] & seen[1:-1] & seen[2:]
    return float(np.linalg.norm(np.diff(motion, n=2, axis=0)[inner], axis=2).mean()) if inner.any() else 0.0
