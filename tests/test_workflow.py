"""The whole workflow on two seconds of the demo actors, and what runs again after which change."""

import json
import re
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from pipeline import verify
from pipeline.media import probe, read_frames
from pipeline.sound import read_sound
from tests.clips import images_of
from tests.project_for_tests import DRIVEN, ROOT, Project, copy_project

SELF = "results/Astronaut_self.mp4"
OFFLINE = "results/Astronaut_driven_by_Admiral_offline.mp4"
SPEAKS = "results/Astronaut_speaks_Admiral.mp4"
SPEAKS_SELF = "results/Astronaut_speaks_self.mp4"
TABLE = "results/tables/table_1.md"
PAGE = "results/Astronaut.html"
HALF = "results/Astronaut.fp16.onnx"
TRAINED = "train_stage1", "train_stage2"


@pytest.fixture(scope="module")
def project(tmp_path_factory, face_mesh_weights) -> Project:
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    project = Project(folder, "tests/tiny.yaml")
    done = project.snakemake("--", DRIVEN, SELF, OFFLINE, SPEAKS, SPEAKS_SELF, TABLE, PAGE, HALF)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def changed(project):
    """Change a file of the project for one test."""
    before: dict[Path, str] = {}

    def change(name: str, old: str, new: str) -> None:
        path = project.folder / name
        before[path] = path.read_text()
        assert old in before[path]
        path.write_text(before[path].replace(old, new))

    yield change
    for path, text in before.items():
        path.write_text(text)


def test_the_result_has_the_drivers_frames_rate_and_sound(project):
    video, driver = project.folder / DRIVEN, project.folder / "work/actors/Admiral.mp4"
    assert probe(video).rates[0] == probe(driver).rates[0] == Fraction(25)
    frames = sum(1 for _ in read_frames(video))
    assert frames == sum(1 for _ in read_frames(driver)) == 50
    assert abs(len(read_sound(video, 16000)) / 16000 - frames / 25) <= 1 / 25


def test_every_figure_is_a_number_or_says_why_not(project):
    keys = "l1 psnr ssim mouth_l1 lpips fid csim apd aed gaze landmarks"
    keys += " r_yaw r_roll r_mouth r_lids jitter face_found frames fps"
    for video, frames in ((DRIVEN, 50), (SELF, 10)):
        report = json.loads((project.folder / video).with_suffix(".metrics.json").read_text())
        assert [key for key in report if key not in ("missing", "measured_with")] == keys.split()
        for key in keys.split():
            assert isinstance(report[key], int | float) != (key in report["missing"]), key
        assert report["frames"] == frames and report["fps"] == 25 and report["face_found"] > 0.5
    assert report["l1"] > 0 and report["psnr"] > 10


def test_a_speech_renders_as_long_as_it_lasts_and_says_how_the_mouth_goes_with_it(project):
    report = json.loads((project.folder / SPEAKS).with_suffix(".metrics.json").read_text())
    assert report["frames"] == 50 and abs(len(read_sound(project.folder / SPEAKS, 16000)) / 16000 - 2) <= 1 / 25
    assert report["r_mouth"] is None and "the sound moves the mouth" in report["missing"]["r_mouth"]
    assert set(report["measured_with"]["speech"]) == {"r", "lag", "r_best", "r_shuffled"}
    own = json.loads((project.folder / SPEAKS_SELF).with_suffix(".metrics.json").read_text())
    assert own["l1"] > 0 and "r_mouth" not in own["missing"] and own["frames"] == 10


def test_the_live_page_has_the_faces_names_the_tracker_and_a_motion_to_play(project):
    text = (project.folder / PAGE).read_text()
    about = json.loads(re.search(r'<script type="application/json" id="about">(.*)</script>', text)[1])
    assert {"yaw", "mouth", "smile", "look_up", "size"} <= {slider["id"] for slider in about["sliders"]}
    assert [driver["name"] for driver in about["drivers"]] == ["Admiral"] and about["label"] == "synthetic"
    for name in ("portrait", "read_face", "wasm-binary", "motion-0", "sound-0"):
        assert f'id="asset-{name}"' in text, name
    assert (project.folder / HALF).exists()


def test_an_offline_version_that_begins_at_stage1_needs_no_other_stage2(tmp_path, face_mesh_weights):
    copy_project(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("begin: stage2", "begin: stage1"))
    planned = Project(tmp_path, "tests/tiny.yaml").planned(OFFLINE)
    assert planned["train_stage2_offline"] == 1 and "train_stage2" not in planned


def test_the_offline_version_knows_the_drivers_motion(project):
    online, offline = (
        json.loads((project.folder / name).with_suffix(".metrics.json").read_text()) for name in (DRIVEN, OFFLINE)
    )
    assert offline["measured_with"]["driver_among_auxiliary"] and offline["frames"] == online["frames"]
    assert offline["aed"] != online["aed"]


def test_a_table_compares_the_baseline_with_ours(project):
    text = (project.folder / TABLE).read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| Astronaut")]
    assert [row[2] for row in rows] == ["DNP", "ours"] and "- csim: none, not asked for" in text
    own = json.loads((project.folder / SELF).with_suffix(".metrics.json").read_text())
    assert rows[1][3].strip("*") == f"{own['l1']:.4g}"


def test_driver_and_result_stand_side_by_side(project):
    pair = project.folder / "results/Astronaut_driven_by_Admiral.side_by_side.mp4"
    pictures = images_of(pair)
    assert len(pictures) == 50 and pictures[0].shape == (64, 128, 3)
    result = images_of(project.folder / DRIVEN)
    assert abs(pictures[20][:, 64:].astype(int) - result[20]).mean() < 6


def test_every_result_verifies_and_bears_the_label(project, monkeypatch, capsys):
    monkeypatch.chdir(project.folder)
    for name in (DRIVEN, SELF, OFFLINE, SPEAKS, SPEAKS_SELF):
        verify.main(video=Path(name))
        verify.main(video=Path(name).with_suffix(".side_by_side.mp4"))
    verify.main(video=Path("work/actors/Astronaut.mp4"))
    result, measured = (
        images_of(Path(name)).astype(int) for name in (DRIVEN, "work/portraits/Astronaut/video/driven_by_Admiral.mp4")
    )
    assert abs(result - measured)[:, -16:, -40:].mean() > 20 > 4 > abs(result - measured)[:, :32].mean()


def test_another_label_or_a_file_that_says_the_same_does_not_render_again(project, changed):
    (project.folder / "same.yaml").write_text("held_out: 0.2\n")
    assert Project(project.folder, *project.configs, "same.yaml").planned(DRIVEN) == {}
    changed("config.yaml", "label: synthetic", "label: made up")
    assert project.planned(DRIVEN) == {"illustrate": 1, "present": 1}


def test_the_log_of_every_term_is_kept(project):
    header = (project.folder / "work/portraits/Astronaut/video/stage2.losses.tsv").read_text().splitlines()[0]
    terms = ["reconstruction", "perceptual", "consistency", "adversarial", "velocity", "discriminator"]
    assert header.split("\t") == ["images", *terms, "held_out"]


def test_a_second_run_has_nothing_to_do(project):
    assert project.planned(DRIVEN, SELF, OFFLINE, SPEAKS, SPEAKS_SELF, TABLE) == {}


def test_a_changed_stage2_weight_reruns_stage2_and_below(project, changed):
    changed("config.yaml", "perceptual: 0", "perceptual: 1")
    assert set(project.planned(DRIVEN)) == {"train_stage2", "render", "measure", "illustrate", "present"}


def test_a_new_driver_does_not_train_the_target_again(project):
    videos = project.folder / "data" / "videos"
    videos.mkdir(parents=True)
    shutil.copy(project.folder / "work/actors/Admiral.mp4", videos / "New.mp4")
    planned = project.planned("results/Astronaut_driven_by_New.mp4")
    once = "crop", "track_face", "track_gaze", "render", "measure", "coverage", "illustrate", "present"
    assert planned == dict.fromkeys(once, 1)
    assert project.planned(DRIVEN) == {}
    shutil.rmtree(videos)


def test_a_portrait_keeps_its_auxiliary_clips_when_others_come(project):
    videos, portrait = project.folder / "data" / "videos", project.folder / "work/portraits/One/video"
    videos.mkdir(parents=True)
    for name in ("One", "Two"):
        shutil.copy(project.folder / "work/actors/Admiral.mp4", videos / f"{name}.mp4")
    assert project.planned("results/One_self.mp4")["track_face"] == 2
    shutil.copy(project.folder / "work/actors/Admiral.mp4", videos / "Three.mp4")
    assert project.planned("results/One_self.mp4")["track_face"] == 3
    portrait.mkdir(parents=True)
    (portrait / "auxiliary.txt").write_text("Two\n")  # as Stage II leaves it
    assert project.planned("results/One_self.mp4")["track_face"] == 2
    shutil.rmtree(videos)
    shutil.rmtree(portrait.parent)


def test_another_clips_head_under_a_speech_trains_nothing(project, changed):
    changed("config.yaml", 'footage: ""', "footage: Admiral")
    planned = set(project.planned(SPEAKS))
    assert "loop_footage" in planned and "speak" in planned and not planned & {*TRAINED, "train_lips", "track_face"}


def test_an_edited_docstring_reruns_nothing(project, changed):
    changed("pipeline/render.py", '"""Render a portrait', '"""Draw a portrait')
    assert project.planned(DRIVEN) == {}


def test_an_edited_step_reruns_that_step_and_below(project, changed):
    changed("pipeline/render.py", "smoothed(motion, smoothing)", "smoothed(motion, 0)")
    assert set(project.planned(DRIVEN)) == {"render", "measure", "illustrate", "present"}


def test_a_wrong_name_is_answered_in_one_line_with_the_names_there_are(project):
    done = project.snakemake("-n", "--", "results/Astronaut_driven_by_Nobody.mp4")
    assert done.returncode == 1
    line = next(line for line in (done.stdout + done.stderr).splitlines() if "Nobody" in line)
    assert "There is no clip 'Nobody'" in line and "Admiral" in line
    assert "Traceback" not in done.stdout + done.stderr


def test_a_bad_clip_stops_with_one_clear_line_and_leaves_nothing(project):
    videos = project.folder / "data" / "videos"
    videos.mkdir(parents=True)
    (videos / "Broken.mp4").write_bytes((project.folder / "work/actors/Astronaut.mp4").read_bytes()[:3000])
    done = project.snakemake("--", "results/Astronaut_driven_by_Broken.mp4")
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(said) == 1 and "data/videos/Broken.mp4" in said[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((project.folder / "work/clips").glob("Broken/*"))
    shutil.rmtree(videos)


def test_unknown_config_keys_are_refused_by_name(project, changed):
    changed("config.yaml", "held_out:", "held_in: 1\nheld_out:")
    done = project.snakemake("-n", "--", DRIVEN)
    assert done.returncode == 1 and "held_in" in done.stdout + done.stderr


def test_a_batch_that_the_processes_cannot_share_is_refused_before_any_work(project, changed):
    changed("config.yaml", "processes: 1", "processes: 3")
    done = project.snakemake("-n", "--", DRIVEN)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "batch cannot be divided among 3 processes" in said and "Traceback" not in said


def test_a_label_with_what_snakemake_would_fill_in_is_refused_by_name(project, changed):
    changed("config.yaml", "  label: synthetic", "  label: AI {fake}")
    done = project.snakemake("-n", "--", DRIVEN)
    assert done.returncode == 1 and "render" in done.stderr + done.stdout and "'AI {fake}'" in done.stderr + done.stdout


def test_the_schema_describes_every_key_of_the_config():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())

    def check(section: dict, values: dict, path: str) -> None:
        section = schema["$defs"][section["$ref"].rsplit("/", 1)[1]] if "$ref" in section else section
        assert set(section["required"]) == set(section["properties"]) == set(values), path
        for name, value in values.items():
            key = section["properties"][name]
            if isinstance(value, dict):
                check(key, value, f"{path}.{name}")
            else:
                key = schema["$defs"][key["$ref"].rsplit("/", 1)[1]] if "$ref" in key else key
                assert key["description"], f"{path}.{name}"

    check(schema, yaml.safe_load((ROOT / "config.yaml").read_text()), "config")


@pytest.mark.parametrize("preset", sorted((ROOT / "workflow/presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_change_only_keys_there_are(preset):
    def check(over: dict, base: dict) -> None:
        for key, value in over.items():
            assert key in base, key
            if isinstance(value, dict):
                check(value, base[key])

    check(yaml.safe_load(preset.read_text()), yaml.safe_load((ROOT / "config.yaml").read_text()))


def test_the_report_shows_every_part_of_every_result_and_fetches_nothing(project, monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    done = project.snakemake("--report", "results/report.html", "--", DRIVEN, SELF, OFFLINE, SPEAKS, SPEAKS_SELF)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (project.folder / "results/report.html").read_text()
    shown = json.loads(re.search(r"var results = (\{.*\});$", text, re.M)[1])
    parts = {"page.html", "contact.jpg", "worst.jpg", "motion.png", "learning.jpg", "losses.png"}
    for result in map(Path, (DRIVEN, SELF, OFFLINE, SPEAKS, SPEAKS_SELF)):
        assert parts == {Path(path).name for path in shown if Path(path).parent.name == result.stem}
    assert "results/Astronaut_driven_by_Admiral.coverage.png" in shown
    assert all(entry["caption"] and entry["data_uri"].startswith("data:") for entry in shown.values())
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="https?:', text)
    assert "prefers-color-scheme" in text  # the project's own style, by the profile
