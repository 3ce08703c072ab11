"""Figures of merit, each a plain function of arrays. Images are (H, W, 3) uint8; L1 is in [0, 1] as in the paper."""

import numpy as np
from skimage.metrics import structural_similarity

MOUTH = slice(48, 68)  # of the 68 landmarks


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
    """Correlation of two curves (N,), or None where one of them is flat."""
    if len(a) < 2 or a.std() < 1e-9 or b.std() < 1e-9:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def landmark_motion(landmarks: np.ndarray, position: np.ndarray, size: int) -> np.ndarray:
    """(N, 68, 2) px, (N, 3) -> (N, 68, 2): departures of the landmarks from their own mean, in face sizes.

    Comparable between people, whose faces differ in shape and place.
    """
    face = position[:, 2].mean() * size / 2
    return (landmarks - landmarks.mean(0)) / face


def landmark_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance between two clips' `landmark_motion`, in face sizes."""
    return float(np.linalg.norm(a - b, axis=2).mean())


def jitter(motion: np.ndarray) -> float:
    """Mean size of the landmarks' change of velocity per frame, in face sizes; takes `landmark_motion` (N, 68, 2)."""
    if len(motion) < 3:
        return 0.0
    return float(np.linalg.norm(np.diff(motion, n=2, axis=0), axis=2).mean())
