import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline import illustrate, measure, stores, verify
from pipeline.encoding import VideoWriter
from pipeline.errors import InputError
from pipeline.progress import stage_of
from pipeline.provenance import NO_CONFIG, record
from pipeline.result_page import MEANINGS
from pipeline.sheets import read, save
from pipeline.sound import write_sound
from tests.clips import images_of
from tests.stores_for_tests import face_of, write_clip

FRAMES, SIZE = 40, 64
ROOT = Path(__file__).parent.parent
PICTURES = {"contact": "jpg", "worst": "jpg", "motion": "png", "learning": "jpg", "losses": "png"}


def report_of(**figures) -> dict:
    values = dict.fromkeys(MEANINGS) | {"apd": 0.0123456, "jitter": 0.1, "frames": FRAMES, "fps": 25.0} | figures
    return values | {
        "missing": {name: "not <asked> for" for name, value in values.items() if value is None},
        "measured_with": {"driver_jitter": 0.0042, "auxiliary": ["Otto"], "licences": {"own.pth": "research only"}},
    }


def landmarks(frames: int = FRAMES) -> np.ndarray:
    """(N, 68, 2): a face of points that stands still."""
    return np.tile(np.random.default_rng(1).uniform(16, 48, (68, 2)).astype(np.float32), (frames, 1, 1))


@pytest.fixture
def inputs(tmp_path, monkeypatch) -> dict:
    """A grey result beside a driver, with all that belongs to it; paths begin at the folder."""
    monkeypatch.chdir(tmp_path)
    clip = write_clip(Path("Otto"), FRAMES, SIZE, landmarks=landmarks())
    write_sound(Path("audio.wav"), np.zeros(640 * FRAMES, np.float32), 16000)
    made = record("pipeline.render", [], NO_CONFIG)
    about = {"fps": Fraction(25), "frames": FRAMES, "sound": Path("audio.wav"), "quality": 10, "record": made}
    with VideoWriter(Path("rendered.mp4"), size=SIZE, comment="", **about) as writer:
        writer.write(np.full((FRAMES, SIZE, SIZE, 3), 128, np.uint8))
    moved = landmarks()
    moved[25] += np.random.default_rng(0).uniform(-9, 9, (68, 2)).astype(np.float32)
    stores.write_face(Path("tracked.h5"), face_of(FRAMES, SIZE, landmarks=moved))
    Path("metrics.json").write_text(json.dumps(report_of()))
    Path("stage1.losses.tsv").write_text("images\treconstruction\n10\t0.5\n20\t0.25\n")
    save(Path("stage1.preview.png"), np.random.default_rng(2).integers(0, 255, (30, 60, 3), np.uint8))
    texts = sorted((ROOT / "workflow/report").glob("*.rst"))
    return {
        **{"video": Path("rendered.mp4"), "metrics": Path("metrics.json"), "tracked": Path("tracked.h5")},
        **{"frames": clip["frames"], "face": clip["face"], "audio": Path("audio.wav")},
        **{"histories": [Path("stage1.losses.tsv")], "previews": [Path("stage1.preview.png")], "coverage": []},
        **{"template": ROOT / "workflow/report/result.html", "captions": texts, "side_by_side": Path("pair.mp4")},
        **{name: Path(f"Anna/{name}.{ending}") for name, ending in PICTURES.items()},
        **{"page": Path("Anna/page.html"), "beside": "driver", "first": 0.0, "quality": 10, "label": "synthetic"},
        "components": ["mediapipe"],
    }


def test_driver_and_labelled_result_stand_side_by_side_and_verify(inputs):
    illustrate.main(**inputs)
    pair = images_of(Path("pair.mp4")).astype(int)
    assert pair.shape == (FRAMES, SIZE, 2 * SIZE, 3)
    with stores.open_frames(inputs["frames"]) as store:
        assert abs(pair[:, :, :SIZE] - store.frames[:]).mean() < 4
    assert (pair[:, 48:, SIZE + 32 :].reshape(FRAMES, -1).max(1) > 190).all()
    assert abs(pair[:, :40, SIZE:] - 128).max() < 8
    assert {"pipeline.render", "pipeline.illustrate"} == set(verify.read(Path("pair.mp4"))["code"])
    verify.main(video=Path("pair.mp4"))


def test_the_page_has_every_part_and_needs_no_other_file(inputs):
    illustrate.main(**inputs)
    text = Path("Anna/page.html").read_text()
    assert not [link for link in re.findall(r'(?:src|href)="([^"]*)"', text) if not link.startswith(("data:", "#"))]
    assert text.count('src="data:image/') == len(PICTURES) and text.count('src="data:video/mp4') == 1
    for words in ("0.01235", "not &lt;asked&gt; for", "research only", "Apache-2.0", "Otto/frames.h5", "0.0042"):
        assert words in text, words
    for name in PICTURES:
        assert read(inputs[name]).std() > 0, name


def test_a_plot_of_coverage_is_on_the_page_where_there_is_one(inputs):
    illustrate.main(**inputs | {"coverage": inputs["previews"]})
    assert Path("Anna/page.html").read_text().count('src="data:image/') == len(PICTURES) + 1


def test_the_frame_in_which_the_face_differs_most_is_the_worst(inputs, capsys):
    illustrate.main(**inputs)
    assert "differ most at 1.0 s" in capsys.readouterr().out
    for name in ("worst", "contact"):
        result = read(inputs[name])[-100:-20, -100:-20].astype(int)  # the last cell of the lowest row, which is grey
        driver = read(inputs[name])[-100 - illustrate.CELL : -20 - illustrate.CELL, -100:-20]
        assert abs(result - 128).max() < 12 and driver.std() > 30, name


def test_a_frame_without_a_face_is_worse_than_any_other():
    driver, result = face_of(9, landmarks=landmarks(9)), face_of(9, landmarks=landmarks(9))
    result.landmarks[2, :10] += 5
    result.valid[7] = driver.valid[0] = False
    found = illustrate.distances(driver, result, SIZE, SIZE, slice(None))
    assert found.argmax() == 7 and np.isinf(found[7]) and found[0] == 0
    assert found[2] == max(found[np.isfinite(found)])


def test_the_worst_frames_keep_apart():
    values = np.array([0, 5, 6, 5, 0, 3, 0, 0, 4.0])
    assert illustrate.peaks(values, count=3, apart=3) == [2, 5, 8]
    assert illustrate.peaks(np.zeros(4), count=3, apart=3) == [0]


def test_traces_begin_at_the_persons_own_median_and_break_where_there_is_no_face():
    valid = np.ones(9, bool)
    valid[4] = False
    face = face_of(9, landmarks=landmarks(9), valid=valid)
    moved = replace(face, pose=face.pose + 1)
    for trace in illustrate.traces(face, moved, spoken=False):
        assert np.isnan(trace.driver[4]) and np.nanmedian(trace.driver) == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(trace.driver, trace.result, atol=1e-4)


def test_a_mouth_that_a_speech_moves_has_no_driver_to_be_compared_with():
    face = face_of(9, landmarks=landmarks(9))
    mouths = [trace for trace in illustrate.traces(face, face, spoken=True) if trace.name.startswith("mouth")]
    assert len(mouths) == 1 and np.isnan(mouths[0].driver).all() and not np.isnan(mouths[0].result).any()
    assert "r =" not in mouths[0].name


def test_every_figure_has_a_meaning():
    assert set(MEANINGS) == set(measure.KEYS)


def test_a_result_without_any_face_is_shown_all_the_same(inputs):
    stores.write_face(Path("tracked.h5"), face_of(FRAMES, SIZE, valid=np.zeros(FRAMES, bool)))
    illustrate.main(**inputs)
    assert Path("Anna/page.html").exists()


def test_a_result_of_another_length_is_refused_in_one_line(inputs):
    stores.write_face(Path("tracked.h5"), face_of(FRAMES - 1, SIZE))
    with pytest.raises(InputError, match=r"tracked\.h5: 39 frames where the driver has 40; measure it again"):
        illustrate.main(**inputs)


def test_losses_are_named_by_their_training():
    names = ["video/stage1", "offline/Otto/stage2", "audio/lips"]
    named = [stage_of(Path(f"work/portraits/Anna/{name}.losses.tsv")) for name in names]
    assert named == ["Stage I", "Stage II, offline", "lips"]
