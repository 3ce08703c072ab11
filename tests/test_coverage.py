import json

import cv2
import numpy as np
import pytest

from pipeline import coverage
from tests.project_for_tests import Project, copy_project
from tests.stores_for_tests import write_clip

FRAMES = 150  # six seconds
PARTS = ["pose", "expression", "gaze", "position", "all"]


def swaying(yaw: float | np.ndarray = 0.1, frames: int = FRAMES, phase: float = 0) -> dict[str, np.ndarray]:
    """Datasets of a face that sways by `yaw` rad and speaks, over and over, once in 32 frames."""
    turn = 2 * np.pi * np.arange(frames) / 32 + phase
    pose, position = np.zeros((frames, 6), np.float32), np.zeros((frames, 3), np.float32)
    pose[:, 1] = yaw * np.sin(turn)
    position[:, 0], position[:, 2] = 0.1 * np.cos(turn), 0.5
    speech = np.random.default_rng(0).normal(size=(1, 50))
    return {"pose": pose, "position": position, "expression": (np.cos(turn)[:, None] * speech).astype(np.float32)}


@pytest.fixture
def report(tmp_path):
    """Run the step on a target named Anna, a driver named Otto and further clips; the figures it writes."""

    def run(target: dict, driver: dict, transfer: str = "direct", held_out: float = 0.0, **auxiliary: dict) -> dict:
        clips = {"Anna": target, "Otto": driver, **auxiliary}
        paths = {name: write_clip(tmp_path / name, len(data["pose"]), **data) for name, data in clips.items()}
        coverage.main(
            frames=paths["Anna"]["frames"],
            face=paths["Anna"]["face"],
            gaze=paths["Anna"]["gaze"],
            driver_face=paths["Otto"]["face"],
            driver_gaze=paths["Otto"]["gaze"],
            auxiliary_face=[paths[name]["face"] for name in auxiliary],
            auxiliary_gaze=[paths[name]["gaze"] for name in auxiliary],
            out=tmp_path / "out.json",
            picture=tmp_path / "out.png",
            held_out=held_out,
            transfer=transfer,
            position=True,
        )
        return json.loads((tmp_path / "out.json").read_text())

    return run


def test_the_other_half_of_the_targets_own_clip_is_inside(report):
    whole = swaying(frames=2 * FRAMES)
    first, second = ({name: data[part] for name, data in whole.items()} for part in np.split(np.arange(300), 2))
    found = report(first, second)
    assert found["outside"]["alone"] == dict.fromkeys(PARTS, 0)
    assert found["advice"][1] == "Nothing is needed."


def test_a_far_larger_yaw_is_outside_in_pose_and_nowhere_else(report):
    alone = report(swaying(0.1), swaying(0.5))["outside"]["alone"]
    beyond = np.mean(np.abs(swaying(0.5)["pose"][:, 1]) > 0.12)
    assert alone["pose"] == alone["all"] == pytest.approx(beyond, abs=0.1)
    assert alone["expression"] == alone["gaze"] == alone["position"] == 0


def test_a_frame_outside_in_one_part_is_outside(report):
    driver = swaying(0.1)
    driver["pose"][:30, 1] += 1
    driver["expression"][60:120] += 5
    alone = report(swaying(0.1), driver)["outside"]["alone"]
    assert (alone["pose"], alone["expression"], alone["all"]) == (0.2, 0.4, 0.6)


def test_an_auxiliary_clip_with_that_yaw_brings_it_inside(report):
    found = report(swaying(0.1), swaying(0.5), Wild=swaying(0.5, frames=90))
    assert found["outside"]["alone"]["all"] > 0.5
    assert found["outside"]["with_auxiliary"] == dict.fromkeys(PARTS, 0)
    assert found["auxiliary"]["Wild"] == {"outside": 0, "lowers_by": found["outside"]["alone"]["all"]}


def test_held_out_frames_of_the_target_do_not_count(report):
    target = swaying(np.where(np.arange(FRAMES) < 100, 0.1, 0.5))
    assert report(target, swaying(0.5))["outside"]["alone"]["all"] < 0.05
    assert report(target, swaying(0.5), held_out=1 / 3)["outside"]["alone"]["all"] > 0.5


def test_frames_without_a_face_do_not_count(report):
    seen = np.arange(FRAMES) >= 50
    driver = swaying(np.where(seen, 0.1, 0.5)) | {"valid": seen}
    found = report(swaying(0.1), driver)
    assert found["outside"]["alone"]["all"] == 0
    assert found["measured_with"]["driver"] == "Otto, 100 frames with a face"


def test_relative_transfer_forgives_another_neutral(report):
    driver = swaying(0.1)
    driver["pose"][:, 0] += 0.3
    assert report(swaying(0.1), driver, "direct")["outside"]["alone"]["pose"] == 1
    assert report(swaying(0.1), driver, "relative")["outside"]["alone"]["pose"] == 0


def test_one_percent_of_the_targets_own_motion_is_outside_each_part(report):
    restless = swaying() | {"expression": np.random.default_rng(1).normal(size=(FRAMES, 50)).astype(np.float32)}
    assert report(restless, swaying())["measured_with"]["target_itself"]["expression"] == pytest.approx(
        2 / FRAMES, 1e-2
    )


def test_frames_within_half_a_second_do_not_set_the_limit(report):
    """The target turns by 0.01 rad a frame; at 25 frames a second the nearest frame that counts is 13 away."""
    target = swaying()
    target["pose"][:, 1] = 0.01 * np.arange(FRAMES)
    for beyond, share in ((0.12, 0), (0.14, 1)):
        driver = swaying()
        driver["pose"][:, 1] = target["pose"][-1, 1] + beyond
        assert report(target, driver)["outside"]["alone"]["pose"] == share


def test_the_advice_names_the_clip_that_helps_most_and_the_offline_version(report):
    found = report(swaying(0.1), swaying(0.5), Calm=swaying(0.1), Wild=swaying(0.3))
    first, second = found["advice"]
    alone, both = (round(100 * found["outside"][key]["all"]) for key in ("alone", "with_auxiliary"))
    assert first == (
        f"{alone} % of the motion of Otto lies outside what Anna shows (mostly pose); "
        f"with the auxiliary clips {both} %."
    )
    assert second == (
        f"Wild helps most (to {both} % alone). "
        "The offline version, results/Anna_driven_by_Otto_offline.mp4, covers all of it."
    )
    assert found["auxiliary"]["Calm"]["lowers_by"] == 0 < both < alone


def test_a_driver_among_the_auxiliary_clips_needs_nothing(report):
    found = report(swaying(0.1), swaying(0.5), Otto=swaying(0.5))
    assert found["driver_among_auxiliary"] and found["outside"]["with_auxiliary"]["all"] == 0
    assert found["advice"][1].startswith("Nothing is needed: Otto is an auxiliary clip")


def test_the_picture_is_whole_and_the_same_each_time(report, tmp_path):
    pictures = []
    for _ in range(2):
        report(swaying(0.1), swaying(0.5), Calm=swaying(0.2))
        pictures.append((tmp_path / "out.png").read_bytes())
    assert pictures[0] == pictures[1]
    picture = cv2.imread(str(tmp_path / "out.png"))
    assert picture.shape == (500, 1200, 3)
    orange = (abs(picture.astype(int) - (0, 94, 213)) < 8).all(2)
    assert orange[:, 700:].sum() > 3000 and orange[:, :600].sum() > 30  # bars and points of what is outside
    assert not list(tmp_path.glob(".out*"))


def test_a_target_of_less_than_a_second_knows_its_range_too(report):
    found = report(swaying(frames=20), swaying(0.5))
    assert found["measured_with"]["target_itself"]["all"] < 0.2 < found["outside"]["alone"]["all"]


def test_the_workflow_answers_without_any_training(tmp_path, face_mesh_weights):
    copy_project(tmp_path)
    planned = Project(tmp_path, "tests/tiny.yaml").planned("results/Astronaut_driven_by_Admiral.coverage.png")
    assert planned == {"make_actor": 2, "crop": 2, "track_face": 2, "track_gaze": 2, "coverage": 1}
