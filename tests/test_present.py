from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.encoding import VideoWriter
from pipeline.present import main, table
from pipeline.sound import write_sound
from tests.clips import images_of
from tests.stores_for_tests import write_clip

SIZE = 64
CORNER = np.s_[:, 48:, 32:]  # where the label is


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    """A rendered video, all grey, with its figures and its driver."""
    folder = tmp_path_factory.mktemp("inputs")
    clip = write_clip(folder, frames=10, size=SIZE)
    write_sound(folder / "audio.wav", np.zeros(6400, np.float32), 16000)
    (folder / "metrics.json").write_text('{"l1": 0.1}')
    about = {"fps": Fraction(25), "frames": 10, "sound": folder / "audio.wav", "quality": 10, "comment": ""}
    with VideoWriter(folder / "rendered.mp4", size=SIZE, **about) as writer:
        writer.write(np.full((10, SIZE, SIZE, 3), 128, np.uint8))
    paths = {"video": folder / "rendered.mp4", "metrics": folder / "metrics.json", "audio": folder / "audio.wav"}
    return paths | {"frames": clip["frames"]}


def presented(inputs: dict[str, Path], folder: Path, label: str) -> np.ndarray:
    """The pictures of the result, (N, S, S, 3)."""
    out = folder / "out.mp4"
    main(**inputs, out=out, side_by_side=folder / "pair.mp4", first=0.0, quality=10, label=label)
    return images_of(out).astype(int)


def test_the_label_is_in_every_picture_of_the_result(inputs, tmp_path):
    result = presented(inputs, tmp_path, "synthetic")
    assert len(result) == 10
    assert (result[CORNER].reshape(10, -1).max(1) > 190).all()
    assert abs(result[:, :40] - 128).max() < 8


def test_without_a_label_the_result_is_the_rendered_file_itself(inputs, tmp_path):
    result = presented(inputs, tmp_path, "")
    assert (tmp_path / "out.mp4").read_bytes() == inputs["video"].read_bytes()
    assert abs(result - 128).max() < 8


def test_the_video_that_is_measured_never_has_the_label(inputs, tmp_path):
    before = inputs["video"].read_bytes()
    presented(inputs, tmp_path, "synthetic")
    assert inputs["video"].read_bytes() == before


def test_every_figure_has_a_line_and_a_missing_one_its_reason():
    report = {"l1": 0.01234567, "csim": None, "frames": 50, "missing": {"csim": "needs weights"}, "measured_with": {}}
    lines = table(report).splitlines()
    assert len(lines) == 3
    assert "0.01235" in lines[0] and "needs weights" in lines[1] and "50" in lines[2]
