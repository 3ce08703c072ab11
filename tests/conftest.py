"""Fixtures that several test files share."""

from pathlib import Path

import pytest

from pipeline import fetch_face_mesh

WEIGHTS = Path(__file__).parent.parent / "weights"


@pytest.fixture(scope="session")
def face_mesh_weights() -> tuple[Path, Path]:
    """MediaPipe's mesh and detector files, fetched once by the real step."""
    mesh = WEIGHTS / "face_landmark_with_attention.tflite"
    detector = WEIGHTS / "face_detection_short_range.tflite"
    fetch_face_mesh.main(mesh=mesh, detector=detector)
    return mesh, detector
