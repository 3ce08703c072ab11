import math
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from face_alignment import FaceAlignment, LandmarksType
from face_alignment.models import FAN

from models.errors import WeightsError
from models.landmarks68 import Landmarks68
from tests.checkpoints_for_tests import write_fan, write_s3fd

CPU = torch.device("cpu")


class Published(FaceAlignment):
    """The package's own object as DECA makes it, on files at hand instead of downloads."""

    def __init__(self, detector_path: Path, landmark_path: Path):
        self.landmark_path = landmark_path
        super().__init__(
            LandmarksType.TWO_D,
            device="cpu",
            flip_input=False,
            compile=False,
            face_detector_kwargs={"path_to_detector": detector_path},
        )

    def _load_native(self, network_name, network_size, device, dtype):
        network = FAN(network_size)
        network.load_state_dict(torch.load(self.landmark_path, weights_only=True))
        return network.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("weights")
    write_s3fd(folder / "s3fd.pth")
    write_fan(folder / "fan.pth.tar")
    return folder / "s3fd.pth", folder / "fan.pth.tar"


@pytest.fixture(scope="module")
def finder(weights) -> Landmarks68:
    return Landmarks68(*weights, CPU)


@pytest.fixture(scope="module")
def published(weights) -> Published:
    return Published(*weights)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """(2, 96, 128, 3) uint8: a face, and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    return np.stack([skimage.data.astronaut()[60:156, 160:288], noise])


def changed(path: Path, out: Path, change) -> Path:
    """The same checkpoint with its state dict changed."""
    state = torch.load(path, weights_only=True)
    torch.save(change(state) or state, out)
    return out


@pytest.mark.parametrize(("height", "width"), [(96, 128), (200, 144)])
def test_landmarks_are_those_of_the_package(finder, published, height, width):
    picture = np.ascontiguousarray(skimage.data.astronaut()[:height, 100 : 100 + width])
    points, found = finder.landmarks(picture[None])
    assert points.shape == (1, 68, 2) and points.dtype == np.float32
    assert found.tolist() == [True]
    assert np.array_equal(points[0], published.get_landmarks(picture)[0])


def test_the_size_of_batches_changes_nothing(finder, frames):
    together = finder.landmarks(frames)[0]
    alone = np.concatenate([finder.landmarks(frame[None])[0] for frame in frames])
    assert np.allclose(together, alone, atol=2)  # half a pixel of the heatmap, where rounding turns a comparison
    assert (np.abs(together[0] - together[1]).max(-1) > 0).any()


def test_boxes_are_the_packages_rectangles_made_square_best_first(weights, published, tmp_path, frames):
    def wide_faces_in_rows(state):  # of 300 x 100 px, 128 px apart: neighbours in a row overlap by 0.4
        state["conv7_2_mbox_loc.weight"] *= 0
        state["conv7_2_mbox_loc.bias"][:] = torch.tensor([0, 0, math.log(300 / 512) / 0.2, math.log(100 / 512) / 0.2])
        state["conv7_2_mbox_conf.bias"][1] += 6

    detector = changed(weights[0], tmp_path / "many.pth", wide_faces_in_rows)
    boxes, scores = Landmarks68(detector, weights[1], CPU).detect(frames)
    package = Published(detector, weights[1]).face_detector
    for frame, found, score in zip(frames, boxes, scores, strict=True):
        rectangles = np.stack(package.detect_from_image(frame))
        assert found.shape == (len(rectangles), 4) and len(rectangles) > 1
        assert found.dtype == np.float64
        assert np.allclose(found[:, :2], (rectangles[:, :2] + rectangles[:, 2:4]) / 2)
        assert np.allclose(found[:, 2], 200) and np.all(found[:, 3] == 0)
        assert np.array_equal(score, rectangles[:, 4]) and np.all(np.diff(score) <= 0)


def test_a_frame_without_a_face_is_zero_and_leaves_the_others_alone(weights, finder, tmp_path, frames):
    logits = np.array([math.log(score[0] / (1 - score[0])) for score in finder.detect(frames)[1]])
    missing, present = np.argsort(logits)

    def shy(state):  # a threshold between the two frames
        state["conv7_2_mbox_conf.bias"][0] += logits.mean()

    shy_finder = Landmarks68(changed(weights[0], tmp_path / "shy.pth", shy), weights[1], CPU)
    points, found = shy_finder.landmarks(frames)
    assert np.flatnonzero(found).tolist() == [present]
    assert not points[missing].any()
    assert np.allclose(points[found], finder.landmarks(frames)[0][found], atol=2)
    boxes, scores = shy_finder.detect(frames)
    assert boxes[missing].shape == (0, 4) and scores[missing].shape == (0,)
    points, found = shy_finder.landmarks(frames[[missing]])
    assert points.shape == (1, 68, 2) and not found.any()


def test_a_prefix_and_missing_counters_are_tolerated(weights, finder, tmp_path, frames):
    def old(state):
        return {f"module.{key}": value for key, value in state.items() if not key.endswith("num_batches_tracked")}

    again = Landmarks68(weights[0], changed(weights[1], tmp_path / "old.tar", old), CPU)
    assert np.array_equal(again.landmarks(frames[:1])[0], finder.landmarks(frames[:1])[0])


def test_a_missing_key_is_named(weights, tmp_path):
    broken = changed(weights[0], tmp_path / "broken.pth", lambda state: state.pop("conv4_3_norm.weight") is None)
    with pytest.raises(WeightsError, match=r"broken\.pth: lacks conv4_3_norm\.weight; has nothing too many"):
        Landmarks68(broken, weights[1], CPU)


def test_swapped_files_are_refused(weights):
    with pytest.raises(WeightsError, match=r"fan\.pth\.tar: lacks .* this is another network's file"):
        Landmarks68(*reversed(weights), CPU)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (95, 64), (128, 200), (512, 300)])
def test_the_test_networks_see_one_face_in_the_middle_of_any_picture(finder, height, width):
    picture = skimage.data.astronaut()[None, :height, :width]
    boxes, _ = finder.detect(picture)
    (x, y, side, _), shorter = boxes[0][0], min(height, width)
    assert len(boxes[0]) == 1
    assert np.hypot(x - width / 2, y - height / 2) < shorter / 3 and shorter / 2.5 < side < shorter
    points = finder.landmarks(picture)[0][0]
    assert np.all(points >= 0) and np.all(points < (width, height))
    assert len(np.unique(points, axis=0)) > 50
