import numpy as np
import pytest
import skimage
import torch

from models.errors import WeightsError
from pipeline.face_tracker import FaceTracker, bridge, follow

CPU = torch.device("cpu")
SHIFTS = np.array([(0, 0), (2, 1), (4, 2), (6, 3), (8, 4), (10, 5), (12, 6)])  # x, y px of the picture


@pytest.fixture(scope="module")
def tracker(face_mesh_weights) -> FaceTracker:
    return FaceTracker(*face_mesh_weights, CPU)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """(7, 256, 256, 3) uint8: a face that moves by SHIFTS."""
    picture = skimage.data.astronaut()
    return np.stack([picture[8 - y : 264 - y, 108 - x : 364 - x] for x, y in SHIFTS])


def test_the_mesh_moves_with_the_face(tracker, clip):
    track = tracker.track(lambda: [clip[:3], clip[3:]])
    assert track.mesh.shape == (7, 478, 3) and track.mesh.dtype == np.float32
    assert track.valid.all()
    moved = (track.mesh[:] - track.mesh[0])[..., :2].mean(1)
    assert np.allclose(moved, SHIFTS, atol=0.5)


def test_the_size_of_batches_changes_nothing(tracker, clip):
    whole, single = tracker.track(lambda: [clip]), tracker.track(lambda: (frame[None] for frame in clip))
    assert np.allclose(whole.mesh[:], single.mesh[:], atol=0.02)


def test_frames_without_a_face_are_bridged(tracker, clip):
    frames = clip.copy()
    frames[[0, 3]] = 128
    track = tracker.track(lambda: [frames])
    assert track.valid.tolist() == [False, True, True, False, True, True, True]
    assert np.allclose(track.mesh[3], (track.mesh[2] + track.mesh[4]) / 2, atol=1e-3)
    assert np.array_equal(track.mesh[0], track.mesh[1])


def test_a_clip_without_any_face_is_invalid_throughout(tracker):
    track = tracker.track(lambda: [np.full((3, 64, 64, 3), 128, np.uint8)])
    assert not track.valid.any() and track.mesh.shape == (3, 478, 3)


def test_another_person_never_stands_in_for_the_followed_one(tracker, clip):
    beside = np.concatenate([clip, np.full_like(clip[:, :, :200], 128)], 2)
    beside[:, 128:, 328:] = clip[0, ::2, ::2]  # a smaller face at the right
    beside[3, :, :256] = 128
    track = tracker.track(lambda: [beside])
    assert track.valid.tolist() == [True, True, True, False, True, True, True]
    assert track.mesh[..., 0].max() < 256


def test_detections_come_per_frame_best_first(tracker, clip):
    frames = np.stack([clip[0], np.full_like(clip[0], 128)])
    boxes, scores = tracker.detect(frames)
    assert [len(found) for found in boxes] == [len(found) for found in scores] == [1, 0]
    assert boxes[0].shape == (1, 4) and 0.5 < scores[0][0] <= 1


def test_the_largest_and_longest_seen_person_is_followed():
    small, large, passing = np.array([50, 50, 40, 0.0]), np.array([200, 50, 60, 0.0]), np.array([120, 50, 100, 0.0])
    detections = [
        np.stack([small, large]),
        np.stack([passing, large, small]),
        small[None],
        np.stack([small, large + 9]),
    ]
    followed = follow(detections)
    assert list(followed) == [0, 1, 3]
    assert np.array_equal(np.stack(list(followed.values())), np.stack([large, large, large + 9]))


def test_bridges_are_straight_and_held_at_the_ends():
    values = np.array([9.0, 1.0, 9.0, 9.0, 4.0, 9.0])
    assert bridge(values, np.isin(np.arange(6), [1, 4])).tolist() == [1, 1, 2, 3, 4, 4]


def test_missing_weights_name_the_step_that_fetches_them(tmp_path, face_mesh_weights):
    with pytest.raises(WeightsError, match=r"none\.tflite: no such file; .*pipeline\.fetch_face_mesh"):
        FaceTracker(tmp_path / "none.tflite", face_mesh_weights[1], CPU)


def test_another_network_in_the_detectors_place_is_refused(face_mesh_weights):
    with pytest.raises(WeightsError, match=r"face_landmark_with_attention\.tflite: has no tensor named"):
        FaceTracker(face_mesh_weights[0], face_mesh_weights[0], CPU)
