"""Fixtures that several test files share."""

from pathlib import Path

import pytest

from pipeline import export_tracker, fetch_face_mesh

WEIGHTS = Path(__file__).parent.parent / "weights"


@pytest.fixture(scope="session")
def face_mesh_weights() -> tuple[Path, Path]:
    """MediaPipe's mesh and detector files, fetched once by the real step."""
    mesh = WEIGHTS / "face_landmark_with_attention.tflite"
    detector = WEIGHTS / "face_detection_short_range.tflite"
    fetch_face_mesh.main(mesh=mesh, detector=detector)
    return mesh, detector


@pytest.fixture(scope="session")
def tracker_files(tmp_path_factory, face_mesh_weights) -> dict[str, Path]:
    """The tracker as ONNX files, by their names; a minute's work."""
    folder = tmp_path_factory.mktemp("tracker")
    paths = {name: folder / f"{name}.onnx" for name in ("find_face", "read_face", "fit_neutral")}
    export_tracker.main(networks=face_mesh_weights[0].parent, **paths)
    return paths
