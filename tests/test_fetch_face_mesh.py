"""Wheels made here are offered to the real pip as a folder, without any index."""

import os
import zipfile
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.fetch_face_mesh import DETECTOR, MESH, main
from tests.project_for_tests import Project, copy_project

WHEEL = "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"
ABOUT = {
    "METADATA": "Metadata-Version: 2.1\nName: mediapipe\nVersion: 0.10.21\n",
    "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_28_x86_64\n",
    "RECORD": "",
}


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """The only folder where pip looks for packages."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def places(tmp_path) -> dict[str, Path]:
    return {"mesh": tmp_path / "weights" / "mesh.tflite", "detector": tmp_path / "weights" / "detector.tflite"}


def write_wheel(shelf: Path, mesh: bytes, detector: bytes) -> None:
    with zipfile.ZipFile(shelf / WHEEL, "w") as wheel:
        for name, text in ABOUT.items():
            wheel.writestr(f"mediapipe-0.10.21.dist-info/{name}", text)
        wheel.writestr(MESH, mesh)
        wheel.writestr(DETECTOR, detector)


def test_both_networks_are_taken_out_of_the_wheel(shelf, places, face_mesh_weights):
    true_mesh, true_detector = (path.read_bytes() for path in face_mesh_weights)
    write_wheel(shelf, true_mesh, true_detector)
    main(**places)
    assert places["mesh"].read_bytes() == true_mesh
    assert places["detector"].read_bytes() == true_detector
    assert len(list(places["mesh"].parent.iterdir())) == 2


def test_a_wheel_with_other_bytes_is_refused(shelf, places, face_mesh_weights):
    write_wheel(shelf, face_mesh_weights[0].read_bytes(), b"other bytes")
    with pytest.raises(InputError, match=r"0\.10\.21-.*whl: its .*short_range\.tflite has a wrong sha256"):
        main(**places)
    assert not places["mesh"].parent.exists()


def test_a_wheel_that_is_no_zip_is_refused(shelf, places):
    (shelf / WHEEL).write_bytes(b"<html>sign in to this network</html>")
    with pytest.raises(InputError) as error:
        main(**places)
    assert "\n" not in str(error.value) and "mediapipe" in str(error.value)


def test_right_files_placed_by_hand_are_kept(shelf, places, face_mesh_weights):
    for place, true in zip(places.values(), face_mesh_weights, strict=True):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(true.read_bytes())
    before = [place.stat() for place in places.values()]
    main(**places)  # the shelf is empty: a download would fail
    assert [place.stat() for place in places.values()] == before


def test_a_wrong_file_placed_by_hand_is_refused_by_name(shelf, places):
    places["detector"].parent.mkdir()
    places["detector"].write_bytes(b"something else")
    with pytest.raises(InputError, match=r"detector\.tflite: not the face_detection_short_range\.tflite"):
        main(**places)


def test_without_a_network_one_line_says_what_to_place_where(shelf, places):
    with pytest.raises(InputError) as error:
        main(**places)
    line = str(error.value)
    assert "\n" not in line
    for word in ("mediapipe==0.10.21", "Apache-2.0", MESH, DETECTOR, str(places["mesh"]), str(places["detector"])):
        assert word in line


def test_a_file_placed_by_hand_stays_where_the_other_cannot_be_fetched(tmp_path, face_mesh_weights, shelf):
    copy_project(tmp_path)
    placed, lacking = (tmp_path / "weights" / Path(name).name for name in (MESH, DETECTOR))
    lacking.unlink()
    done = Project(tmp_path, "tests/tiny.yaml").snakemake("--", f"weights/{lacking.name}")
    assert done.returncode == 1 and "pip could not download" in done.stdout + done.stderr
    assert placed.exists() and not lacking.exists()
