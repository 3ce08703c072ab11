import inspect
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import coverage, loop_footage, measure, render, speak, stores, track_gaze, train_lips, training
from pipeline.errors import InputError
from tests.disk_for_tests import little_room
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


def test_too_little_room_for_what_memory_does_not_hold_is_one_line_that_names_the_folder(monkeypatch):
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(InputError, match=rf"{stores.tempfile.gettempdir()}: 11 MB are needed .* TMPDIR"):
        stores.scratch(2000, 478, 3)


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


def test_two_writers_at_once_do_not_mix(tmp_path):
    plain = {"size": 8, "fps": 25, "box": (0, 0, 8), "source": "x", "sha256": "0"}
    with (
        stores.FramesWriter(tmp_path / "frames.h5", **plain) as one,
        stores.FramesWriter(tmp_path / "frames.h5", **plain) as other,
    ):
        one.append(np.zeros((1, 8, 8, 3), np.uint8))
        other.append(np.ones((2, 8, 8, 3), np.uint8))
    with stores.open_frames(tmp_path / "frames.h5") as store:
        assert store.frames[:].tolist() == np.zeros((1, 8, 8, 3)).tolist() and store.identity == one.identity
    assert one.identity != other.identity


def test_a_full_disk_stops_the_writer_and_leaves_nothing(tmp_path):
    plain = {"size": 64, "fps": 25, "box": (0, 0, 64), "source": "x", "sha256": "0"}
    said = pytest.raises(InputError, match=r"frames\.h5: cannot be written \(File too large\); make room")
    batches = iter(range(60))
    with little_room(), said, stores.FramesWriter(tmp_path / "frames.h5", **plain) as writer:
        for _ in batches:
            writer.append(np.zeros((50, 64, 64, 3), np.uint8))
    assert next(batches) < 40  # it does not go on to the end
    with little_room(), pytest.raises(InputError, match=r"face\.h5: cannot be written \(File too large\); make room"):
        stores.write_face(tmp_path / "face.h5", face_of(40))
    assert list(tmp_path.iterdir()) == []


def damage(path, how):
    if isinstance(how, float):
        path.write_bytes(path.read_bytes()[: int(how * path.stat().st_size)])
    elif how == "text":
        path.write_text("not a store")
    elif how == "missing":
        path.unlink()
    else:
        with h5py.File(path, "a") as file:
            how(file)


def replace_pose(file, new) -> None:
    del file["pose"]
    file["pose"] = new


def pose_outside(file) -> None:
    del file["pose"]
    file.create_dataset("pose", (7, 6), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def pose_mapped(file) -> None:
    del file["pose"]
    layout = h5py.VirtualLayout((7, 6), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "pose", (7, 6))
    file.create_virtual_dataset("pose", layout)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (0.0, "not a readable HDF5 file"),
        (0.01, "not a readable HDF5 file"),
        (0.99, "not a readable HDF5 file"),
        ("text", "not a readable HDF5 file"),
        ("missing", "no such file"),
        (lambda file: file.attrs.update(schema=0), "schema 0"),
        (lambda file: file.attrs.update(kind="gaze"), "is a gaze store"),
        (lambda file: file.pop("position"), "lacks position"),
        (lambda file: file["pose"].write_direct(np.full((7, 6), np.inf, "f4")), "finite number at frame 0"),
        (lambda file: replace_pose(file, np.zeros((6, 6), "f4")), "have 6|has 6 frames"),
        (lambda file: replace_pose(file, np.zeros((7, 6))), "pose holds float64, not float32"),
        (lambda file: replace_pose(file, np.float32(0)), "pose is not an array"),
        (lambda file: replace_pose(file, h5py.SoftLink("/expression")), "pose is a link and leads elsewhere"),
        (lambda file: replace_pose(file, h5py.ExternalLink("other.h5", "pose")), "pose is a link and leads elsewhere"),
        (lambda file: pose_outside(file), "pose lies in another file"),
        (lambda file: pose_mapped(file), "pose lies in another file"),
        (lambda file: file.attrs.pop("clip"), "does not say its clip"),
    ],
)
def test_a_damaged_store_is_refused_by_name(tmp_path, how, said):
    path = tmp_path / "face.h5"
    stores.write_face(path, face_of(7))
    damage(path, how)
    with pytest.raises(InputError, match=said) as error:
        stores.read_face(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (0.99, "not a readable HDF5 file"),
        (lambda file: file.attrs.update(schema=stores.SCHEMA + 1), f"schema {stores.SCHEMA + 1}, this version reads"),
        (lambda file: file["frames"].resize(4, axis=0), "do not belong together"),
        (lambda file: file["time"].write_direct(np.full(5, np.nan)), "frame 0 is at nan s"),
        (lambda file: file["time"].write_direct(np.arange(5) / 24), "frame 1 is at 0.042 s, .* at 25 frames/s"),
        (lambda file: file.move("frames", "other") or file.update({"frames": h5py.SoftLink("/other")}), "is a link"),
        (lambda file: file.attrs.pop("identity"), "does not say its identity"),
    ],
)
def test_a_damaged_frame_store_is_refused_by_name(tmp_path, how, said):
    path = write_clip(tmp_path, frames=5)["frames"]
    damage(path, how)
    with pytest.raises(InputError, match=rf"frames\.h5: .*{said}"), stores.open_frames(path):
        pass


def flip_a_bit(path: Path, array: str, row: int) -> None:
    """Damage one stored number, as a bad disk does."""
    with h5py.File(path) as file:
        data = file[array]
        chunk = data.id.get_chunk_info_by_coord((row, *[0] * (data.ndim - 1)))
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(content)


def test_damage_among_the_numbers_is_refused_when_they_are_read(tmp_path):
    paths = write_clip(tmp_path, frames=5)
    flip_a_bit(paths["face"], "pose", 0)
    with pytest.raises(InputError, match=r"face\.h5: is damaged \(.*\); delete it and run again"):
        stores.read_face(paths["face"])
    flip_a_bit(paths["frames"], "frames", 3)
    said = pytest.raises(InputError, match=r"frames\.h5: is damaged \(.*\); delete it and run again")
    with said, stores.open_frames(paths["frames"]) as store:
        assert store.frames[2].max() > 200
        _ = store.frames[3]


def test_stores_of_one_clip_belong_together(tmp_path):
    clip = write_clip(tmp_path, frames=5)
    audio = stores.Audio(np.zeros((5, 16, 29), np.float32), 50.0, "test", "", stores.read_face(clip["face"]).clip)
    stores.write_audio(tmp_path / "audio.h5", audio)
    stores.require_one_clip(*clip.values(), tmp_path / "audio.h5")
    stores.write_audio(tmp_path / "audio.h5", replace(audio, audio=audio.audio[1:]))
    with pytest.raises(InputError, match=r"audio\.h5: 4 frames where .*face\.h5 has 5; delete it"):
        stores.require_one_clip(clip["face"], tmp_path / "audio.h5")


def test_the_same_recording_cropped_otherwise_is_another_clip(tmp_path):
    plain = {"size": 8, "fps": 25, "source": "x", "sha256": "0"}
    for left in (0, 1):
        with stores.FramesWriter(tmp_path / f"{left}.h5", box=(left, 0, 8), **plain) as writer:
            writer.append(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"1\.h5: belongs to other frames than .*0\.h5; delete it and run again"):
        stores.require_one_clip(tmp_path / "0.h5", tmp_path / "1.h5")


def person(clip) -> measure.Person:
    return measure.Person(clip["frames"], clip["face"], clip["gaze"])


STEPS = {  # (run with: frames of one clip, stores of the other, every other argument)
    track_gaze.main: lambda own, other: {"frames": own["frames"], "face": other["face"]},
    training.load_performing: lambda own, other: other | {"frames": own["frames"]},
    render.main: lambda own, other: other | {"frames": own["frames"]},
    coverage.main: lambda own, other: other | {"frames": own["frames"]},
    loop_footage.main: lambda own, other: own | {"gaze": other["gaze"]},
    measure.main: lambda own, other: {"driver": person(own), "target": person(own | {"face": other["face"]})},
    speak.main: lambda own, other: {"face": own["face"], "audio": other["gaze"]},
    train_lips.main: lambda own, other: {"face": own["face"], "audio": other["gaze"], "device": "cpu"},
}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.__module__}.{step.__name__}")
def test_a_step_refuses_stores_of_two_clips_before_it_does_anything(tmp_path, step):
    own, other = write_clip(tmp_path / "own", frames=5), write_clip(tmp_path / "other", frames=6)
    values = dict.fromkeys((name for name in inspect.signature(step).parameters), None)
    with pytest.raises(InputError, match=r"h5: belongs to other frames than .*h5; delete it and run again"):
        step(**values | STEPS[step](own, other))
