"""What `snakemake grid` plans: every clip tracked once, every target trained once, and nothing again."""

import os
import re

import pytest

from tests.project_for_tests import Project, copy_project


@pytest.fixture
def project(tmp_path, face_mesh_weights) -> Project:
    """A project whose clips are no videos: a plan reads none."""
    copy_project(tmp_path)
    (tmp_path / "data/videos").mkdir(parents=True)
    return Project(tmp_path, "tests/tiny.yaml")


def add_clips(project: Project, names: list[str]) -> None:
    for name in names:
        (project.folder / f"data/videos/{name}.mp4").write_text("no video: a plan reads none")


def whole_plan(clips: int) -> dict[str, int]:
    once_a_clip = ("crop", "track_face", "track_gaze", "train_stage1", "train_stage2")
    once_a_pair = ("render", "measure", "coverage", "illustrate", "present")
    counts = dict.fromkeys(once_a_clip, clips) | dict.fromkeys(once_a_pair, clips * (clips - 1))
    return counts | {"contact": 1, "grid": 1}


def pretend_finished(project: Project) -> None:
    """Leave every file of Cleo's and Dora's grid empty, with the records of a finished run; each lent to the other."""
    summary = project.snakemake("--summary", "--", "grid").stdout
    rows = [line.split("\t") for line in summary.splitlines() if line.endswith("update pending")]
    for path in (project.folder / row[0] for row in rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if path.name == "stage2.pt":
            path.with_name("auxiliary.txt").write_text("Dora\n" if path.parent.parent.name == "Cleo" else "Cleo\n")
    done = project.snakemake("--touch", "--forceall", "--", "grid")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_clip_is_tracked_once_and_every_target_trained_once(project):
    add_clips(project, ["Cleo", "Dora", "Emil", "Finn"])
    assert project.planned("grid") == whole_plan(4)


def test_ten_clips_make_ninety_results(project):
    add_clips(project, [f"Clip{number}" for number in range(10)])
    assert project.planned("grid") == whole_plan(10)


def test_one_more_clip_runs_nothing_of_the_finished_results_again(project):
    add_clips(project, ["Cleo", "Dora"])
    pretend_finished(project)
    add_clips(project, ["Anna"])  # comes first, so that its motion would be the first to be lent
    once = ("crop", "track_face", "track_gaze", "train_stage1", "train_stage2", "contact", "grid")
    new_pairs = ("render", "measure", "coverage", "illustrate", "present")
    assert project.planned("grid") == dict.fromkeys(once, 1) | dict.fromkeys(new_pairs, 4)


def test_a_retraining_that_was_interrupted_keeps_its_lenders_though_a_clip_came(project):
    """Snakemake deletes what a step is about to make; the checkpoint fits the lenders of before alone."""
    add_clips(project, ["Cleo", "Dora"])
    pretend_finished(project)
    rows = [line.split("\t") for line in project.snakemake("--summary", "--", "grid").stdout.splitlines()]
    outputs = [project.folder / row[0] for row in rows if "train_stage2" in row and "/Cleo/" in row[0]]
    for path in outputs:
        path.unlink()
    assert project.folder / "work/portraits/Cleo/video/stage2.pt" in outputs
    add_clips(project, ["Anna"])
    assert project.planned("work/portraits/Cleo/video/stage2.pt") == {"train_stage2": 1}


def test_a_clip_that_takes_anothers_place_is_seen_however_old_it_is(project):
    add_clips(project, ["Cleo", "Dora"])
    pretend_finished(project)
    assert "crop" not in project.planned("grid")
    clip = project.folder / "data/videos/Cleo.mp4"
    clip.write_text("another take")
    os.utime(clip, (0, 0))
    planned = project.planned("grid")
    assert planned["crop"] == planned["track_face"] == 1 and planned["train_stage2"] == 2  # each lent to the other


@pytest.mark.parametrize(("enters", "portrait"), [("motion", "video"), ("vector", "audio")])
def test_a_speeches_figures_name_the_lenders_of_the_portrait_that_speaks(project, enters, portrait):
    add_clips(project, ["Cleo", "Dora"])
    (project.folder / "speech.yaml").write_text(f"speech: {{enters: {enters}}}")
    results = "results/Cleo_speaks_self.metrics.json", "results/Cleo_speaks_Dora.metrics.json"
    asked = "-n", "--printshellcmds", "--quiet", "host", "--", *results
    said = Project(project.folder, "tests/tiny.yaml", "speech.yaml").snakemake(*asked).stdout
    assert re.findall(r"--auxiliary (\S+)", said) == [f"work/portraits/Cleo/{portrait}/auxiliary.txt"] * 2


def test_a_target_that_the_config_names_as_lender_borrows_from_others(project):
    add_clips(project, ["Cleo", "Dora"])
    (project.folder / "lent.yaml").write_text("auxiliary: {clips: [Cleo]}")
    asked = "-n", "--printshellcmds", "--quiet", "host", "--", "work/portraits/Cleo/video/stage2.pt"
    said = Project(project.folder, "tests/tiny.yaml", "lent.yaml").snakemake(*asked).stdout
    assert re.findall(r"--auxiliary-face (.*?) +--", said) == ["work/clips/Dora/face.h5"]


def test_fewer_than_two_clips_are_answered_in_one_line(project):
    add_clips(project, ["Cleo"])
    done = project.snakemake("-n", "--", "grid")
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback" not in said
    assert sum("two clips or more in data/videos; there: Cleo" in line for line in said.splitlines()) == 1


def test_a_clip_with_a_bad_name_is_named_in_one_line(project):
    add_clips(project, ["Cleo", "My film"])
    done = project.snakemake("-n", "--", "grid")
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "'data/videos/My film.mp4': rename it" in said and "Traceback" not in said
