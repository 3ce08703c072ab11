import h5py
import numpy as np
import pytest

from pipeline import stores
from pipeline.errors import InputError
from tests.stores_for_tests import face_of, write_clip


def test_frames_come_back_with_time_rate_and_origin(tmp_path):
    paths = write_clip(tmp_path, frames=5)
    with stores.open_frames(paths["frames"]) as store:
        assert len(store) == 5 and store.size == 32 and store.fps == 25 and store.source == "disc.mp4"
        np.testing.assert_allclose(store.time, np.arange(5) / 25)
        assert store.frames[2].max() > 200


def test_a_face_comes_back_as_it_was_written(tmp_path):
    face = face_of(7)
    stores.write_face(tmp_path / "face.h5", face)
    back = stores.read_face(tmp_path / "face.h5")
    np.testing.assert_array_equal(back.pose, face.pose)
    assert back.tracker == "test" and back.valid.dtype == bool


def test_a_tracker_without_a_mesh_can_be_stored(tmp_path):
    face = face_of(7, mesh=np.zeros((7, 0, 3), np.float32), neutral=np.zeros((0, 3), np.float32))
    stores.write_face(tmp_path / "face.h5", face)
    assert stores.read_face(tmp_path / "face.h5").mesh.shape == (7, 0, 3)


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    with (
        pytest.raises(RuntimeError),
        stores.FramesWriter(tmp_path / "frames.h5", size=8, fps=25, box=(0, 0, 8), source="x", sha256="0") as writer,
    ):
        writer.append(np.zeros((1, 8, 8, 3), np.uint8))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pose": np.full((7, 6), np.nan, np.float32)}, "pose is not a finite number at frame 0"),
        ({"pose": np.zeros((6, 6), np.float32)}, "pose has 6 frames|have 6"),
        ({"expression": np.zeros((7, 49), np.float32)}, "expression has shape"),
    ],
)
def test_bad_numbers_are_refused_before_they_are_written(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        stores.write_face(tmp_path / "face.h5", face_of(7, **changes))
    assert not (tmp_path / "face.h5").exists()


def damage(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif how == "text":
        path.write_text("not a store")
    elif how == "missing":
        path.unlink()
    else:
        with h5py.File(path, "a") as file:
            how(file)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("truncated", "not a readable HDF5 file"),
        ("text", "not a readable HDF5 file"),
        ("missing", "no such file"),
        (lambda file: file.attrs.update(schema=0), "schema 0"),
        (lambda file: file.attrs.update(kind="gaze"), "is a gaze store"),
        (lambda file: file.pop("position"), "lacks position"),
        (lambda file: file["pose"].write_direct(np.full((7, 6), np.inf, "f4")), "finite number at frame 0"),
    ],
)
def test_a_damaged_store_is_refused_by_name(tmp_path, how, said):
    path = tmp_path / "face.h5"
    stores.write_face(path, face_of(7))
    damage(path, how)
    with pytest.raises(InputError, match=said) as error:
        stores.read_face(path)
    assert str(path) in str(error.value)
