import numpy as np
import pytest

from pipeline import metrics


def noise(seed: int, size: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def face68() -> np.ndarray:
    """(68, 2) px: eyes 20 apart, a mouth 12 wide at (24, 36)."""
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[36], landmarks[45] = (14, 20), (34, 20)
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    landmarks[48:] = np.stack([24 + 6 * np.cos(angle), 36 + 2 * np.sin(angle)], 1)
    return landmarks


def test_equal_images_score_best():
    image = noise(0)
    assert metrics.l1(image, image) == 0 and metrics.psnr(image, image) == 100
    assert metrics.ssim(image, image) == pytest.approx(1)


def test_a_difference_of_51_levels_is_an_l1_of_a_fifth_and_14_db():
    dark, light = np.full((32, 32, 3), 100, np.uint8), np.full((32, 32, 3), 151, np.uint8)
    assert metrics.l1(dark, light) == pytest.approx(0.2)
    assert metrics.psnr(dark, light) == pytest.approx(-20 * np.log10(0.2))


def test_ssim_falls_with_noise_and_ignores_none_of_the_channels():
    image = np.tile(np.linspace(0, 255, 48).astype(np.uint8)[:, None, None], (1, 48, 3))
    noisy = image.copy()
    noisy[..., 2] = noise(1)[..., 2]
    assert metrics.ssim(noise(2), image) < metrics.ssim(noisy, image) < 0.9


def test_the_mouth_box_holds_the_mouth_and_stays_inside():
    rows, columns = metrics.mouth_box(face68(), 48)
    assert rows.start <= 34 and rows.stop >= 38 and columns.start <= 18 and columns.stop >= 30
    assert columns.stop - columns.start < 24
    outside = face68() + 100
    assert noise(0)[metrics.mouth_box(outside, 48)].size > 0


def test_pearson_knows_sign_and_flat_curves():
    curve = np.sin(np.arange(50))
    assert metrics.pearson(curve, 3 * curve + 1) == pytest.approx(1)
    assert metrics.pearson(curve, -curve) == pytest.approx(-1)
    assert metrics.pearson(curve, np.ones(50)) is None


def test_landmark_motion_compares_faces_of_different_size_and_place():
    sway = np.sin(np.arange(20))[:, None, None] * np.array([1.0, 0.5])
    small, position = face68() + sway, np.tile([0, 0, 0.5], (20, 1))
    large = (face68() * 2 + 30) + 2 * sway
    a = metrics.landmark_motion(small, position, 48)
    b = metrics.landmark_motion(large, position, 96)
    assert metrics.landmark_distance(a, b) < 1e-6
    assert metrics.landmark_distance(a, 0 * a) == pytest.approx(np.linalg.norm(sway, axis=2).mean() / 12, rel=0.05)


def test_jitter_is_zero_for_steady_motion_and_grows_with_noise():
    steady = np.arange(10)[:, None, None] * np.ones((1, 68, 2)) * 0.01
    shaky = steady + np.random.default_rng(0).normal(size=steady.shape) * 0.01
    assert metrics.jitter(steady) < 1e-12 < metrics.jitter(shaky)
