from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.errors import WeightsError
from models.face_parameters import mouth_opening
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


def test_the_mouth_opens_as_the_tracker_has_it():
    points = np.random.default_rng(3).uniform(0, 64, (5, 68, 2)).astype(np.float32)
    np.testing.assert_allclose(metrics.mouth_opening(points), mouth_opening(torch.from_numpy(points)), rtol=1e-5)


def test_eyes_open_by_the_gap_of_their_lids():
    corners, upper, lower = [36, 39, 42, 45], [37, 38, 43, 44], [41, 40, 47, 46]
    face = np.zeros((2, 68, 2), np.float32)
    face[:, corners, 0] = 10, 20, 30, 40
    face[:, upper, 0] = face[:, lower, 0] = 13, 17, 33, 37
    face[1, upper, 1], face[1, lower, 1] = -2, 1
    np.testing.assert_allclose(metrics.eye_opening(face), [0, 0.3])


def test_landmark_motion_compares_faces_of_different_size_and_place():
    sway = np.sin(np.arange(20))[:, None, None] * np.array([1.0, 0.5])
    small, position = face68() + sway, np.tile([0, 0, 0.5], (20, 1))
    large = (face68() * 2 + 30) + 2 * sway
    a = metrics.landmark_motion(small, position, 48, np.ones(20, bool))
    b = metrics.landmark_motion(large, position, 96, np.ones(20, bool))
    assert metrics.landmark_distance(a, b) < 1e-6
    assert metrics.landmark_distance(a, 0 * a) == pytest.approx(np.linalg.norm(sway, axis=2).mean() / 12, rel=0.05)


def test_jitter_is_zero_for_steady_motion_and_grows_with_noise():
    steady = np.arange(10)[:, None, None] * np.ones((1, 68, 2)) * 0.01
    shaky = steady + np.random.default_rng(0).normal(size=steady.shape) * 0.01
    every = np.ones(10, bool)
    assert metrics.jitter(steady, every) < 1e-12 < metrics.jitter(shaky, every)


def gaussian(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (32,) and covariance (32, 32) of `count` samples."""
    draw = np.random.default_rng(seed)
    samples = draw.normal(size=(count, 32)) @ draw.normal(size=(32, 32)) + draw.normal(size=32)
    return samples.mean(0), np.cov(samples.T)


def root_of(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T


@pytest.mark.parametrize("count", [200, 10])  # full rank, and fewer samples than dimensions
def test_the_frechet_distance_is_that_of_the_symmetric_form(count):
    (mean1, cov1), (mean2, cov2) = gaussian(0, count), gaussian(1, count)
    root = root_of(cov1)
    expected = np.square(mean1 - mean2).sum() + np.trace(cov1 + cov2 - 2 * root_of(root @ cov2 @ root))
    assert metrics.frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-6)
    assert metrics.frechet_distance(mean1, cov1, mean1 + 1, cov1) == pytest.approx(32, rel=1e-4)


def test_the_frechet_distance_of_uncorrelated_features_is_that_of_means_and_deviations():
    distance = metrics.frechet_distance(np.array([1.0, 2]), np.diag([4.0, 9]), np.array([4.0, 6]), np.diag([1.0, 0]))
    assert distance == pytest.approx(5**2 + (2 - 1) ** 2 + (3 - 0) ** 2)


def test_a_product_without_a_root_gets_a_millionth_on_both_diagonals():
    cov1, cov2 = np.array([[1.0, 0], [0, 0]]), np.array([[0, 1e-4], [1e-4, 1]])  # their product is nilpotent
    product = (cov1 + 1e-6 * np.eye(2)) @ (cov2 + 1e-6 * np.eye(2))
    trace_of_root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))  # of a 2 x 2 matrix
    distance = metrics.frechet_distance(np.zeros(2), cov1, np.zeros(2), cov2)
    assert trace_of_root > 1e-3
    assert distance == pytest.approx(2 - 2 * trace_of_root, rel=1e-6)


def test_what_is_no_covariance_has_no_frechet_distance():
    with pytest.raises(ValueError, match="imaginary part of 1"):
        metrics.frechet_distance(np.zeros(2), np.eye(2), np.zeros(2), -np.eye(2))


def test_cosine_is_1_along_0_across_and_ignores_lengths():
    a, b = np.array([[2.0, 0], [0, 3], [1, 1]]), np.array([[5.0, 0], [7, 0], [-2, -2]])
    assert metrics.cosine(a, b) == pytest.approx([1, 0, -1])


ALEXNET = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


def alexnet_trunk() -> dict[str, torch.Tensor]:
    """`alexnet-owt-7be5be79.pth` with random numbers."""
    made = torch.Generator().manual_seed(0)
    state = {}
    for index, shape in ALEXNET.items():
        scale = (2 / np.prod(shape[1:])) ** 0.5
        state[f"features.{index}.weight"] = torch.randn(shape, generator=made) * scale
        state[f"features.{index}.bias"] = torch.randn(shape[0], generator=made) * 0.1
    return state | {f"classifier.{index}.{part}": torch.ones(1) for index in (1, 4, 6) for part in ("weight", "bias")}


@pytest.fixture(scope="module")
def trunk() -> dict[str, torch.Tensor]:
    return alexnet_trunk()


def alexnet(state: dict, images: torch.Tensor) -> list[torch.Tensor]:
    """The five ReLU outputs of images in [0, 1], of unit length at each place."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x, found = ((images * 2 - 1) - shift.view(3, 1, 1)) / scale.view(3, 1, 1), []
    for index in ALEXNET:
        if index in (3, 6):
            x = F.max_pool2d(x, 3, stride=2)
        stride, padding = {0: (4, 2), 3: (1, 2)}.get(index, (1, 1))
        x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], stride, padding).relu()
        found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
    return found


def test_lpips_is_the_weighted_distance_of_alexnet_features(trunk, tmp_path):
    path = tmp_path / "alexnet.pth"
    torch.save({f"module.{key}": value for key, value in trunk.items()}, path)
    images1, images2 = torch.rand(2, 3, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    linear = torch.load(Path(lpips.__file__).parent / "weights/v0.1/alex.pth", map_location="cpu", weights_only=True)
    expected = sum(
        ((a - b).square() * linear[f"lin{i}.model.1.weight"][0]).sum(1).mean((1, 2))
        for i, (a, b) in enumerate(zip(alexnet(trunk, images1), alexnet(trunk, images2), strict=True))
    )
    found = metrics.lpips(images1, images2, path)
    assert found.shape == (3,) and (found > 0.01).all()
    assert torch.allclose(found, expected, rtol=1e-4)
    assert (metrics.lpips(images1, images1, path) == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.10.bias"), "lacks features.10.bias"),
        (lambda state: state.update({"features.12.bias": torch.ones(1)}), "has features.12.bias too many"),
    ],
)
def test_another_trunk_is_refused(trunk, tmp_path, change, message):
    state = dict(trunk)
    change(state)
    torch.save(state, tmp_path / "alexnet.pth")
    with pytest.raises(WeightsError, match=rf"alexnet\.pth: .*{message}"):
        metrics.lpips(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64), tmp_path / "alexnet.pth")
