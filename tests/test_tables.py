"""What `snakemake tables` plans: the paper's rows, other systems' videos among them, and no driver ever learned."""

import re
import shutil

import pytest

from tests.project_for_tests import Project, copy_project

PAIRS = """tables:
  pairs: [Cleo_driven_by_Dora]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, face_mesh_weights) -> Project:
    """A project whose clips are no videos: a plan reads none."""
    folder = tmp_path_factory.mktemp("tables")
    copy_project(folder)
    (folder / "data/videos").mkdir(parents=True)
    for name in ("Cleo", "Dora", "Emil"):
        (folder / f"data/videos/{name}.mp4").write_text("no video: a plan reads none")
    (folder / "pairs.yaml").write_text(PAIRS)
    return Project(folder, "tests/tiny.yaml", "pairs.yaml")


def test_every_row_is_trained_rendered_and_measured_once(project):
    planned = project.planned("tables")
    assert planned["train_stage1"] == planned["train_dnp"] == planned["train_dnp_audio"] == 1
    assert planned["train_variant"] == 4 + 2 + 1  # without each loss, k = 1 and 2, the full one
    assert planned["train_variant_offline"] == planned["train_stage2"] == 1
    assert planned["render_row"] == planned["measure_row"] == 7 + 1 + 2  # with offline, DNP and Stage I
    assert planned["tabulate"] == 5 and planned["map_motion"] == planned["time_generator"] == 1


def test_the_driver_lends_its_motion_to_the_offline_row_alone(project):
    row = "work/tables/Cleo_driven_by_Dora"
    rows = [f"{row}/{variant}/stage2.pt" for variant in ("full", "auxiliary_1", "offline")]
    said = project.snakemake("-n", "--printshellcmds", "--quiet", "host", "--", *rows).stdout
    lent = [re.findall(r"work/clips/(\w+)/", part) for part in re.findall(r"--auxiliary-face (.*?) --", said)]
    assert sorted(lent, key=len) == [
        ["Emil"],
        ["Emil", "Admiral", "Astronaut"],
        ["Emil", "Admiral", "Astronaut", "Dora"],
    ]


def test_another_systems_video_is_a_row_where_it_has_the_result(project):
    before = project.planned("results/tables/table_2.md")
    foreign = project.folder / "data/foreign/Rival"
    foreign.mkdir(parents=True)
    (foreign / "Cleo_driven_by_Dora.mp4").touch()
    planned = project.planned("results/tables/table_2.md")
    assert planned["adopt"] == 1 and planned["measure_row"] == before["measure_row"] + 1
    assert "adopt" not in project.planned("results/tables/table_1.md")


@pytest.mark.parametrize("name", ["dnp", "Face vid2vid"])
def test_another_system_cannot_have_the_name_of_our_row_nor_one_that_is_no_word(project, name):
    taken = project.folder / "data/foreign" / name
    taken.mkdir(parents=True)
    done = project.snakemake("-n", "--", "tables")
    taken.rmdir()
    said = done.stdout + done.stderr
    assert done.returncode == 1 and f"data/foreign/{name}: rename it" in said and "Traceback" not in said


def test_a_tables_portraits_keep_their_lenders_when_a_clip_comes(project):
    record = project.folder / "work/tables/Cleo_driven_by_Dora/full/auxiliary.txt"
    record.parent.mkdir(parents=True)
    record.write_text("Emil\nAdmiral\nAstronaut\n")
    (project.folder / "data/videos/Anna.mp4").write_text("no video: a plan reads none")
    said = project.snakemake(
        "-n",
        "--printshellcmds",
        "--quiet",
        "host",
        "--",
        str(record.with_name("stage2.pt").relative_to(project.folder)),
    ).stdout
    (project.folder / "data/videos/Anna.mp4").unlink()
    shutil.rmtree(record.parent)
    lent = re.findall(r"work/clips/(\w+)/", re.search(r"--auxiliary-face (.*?) --", said)[1])
    assert lent == ["Emil", "Admiral", "Astronaut"]


def test_a_name_that_begins_with_a_dash_is_no_option(project):
    clip = project.folder / "data/videos/-Anna.mp4"
    clip.write_text("no video: a plan reads none")
    (project.folder / "dash.yaml").write_text("tables: {pairs: [-Anna_driven_by_Dora]}")
    asked = "-n", "--printshellcmds", "--quiet", "host", "--", "results/tables/table_2.md", "results/-Anna.html"
    done = Project(project.folder, "tests/tiny.yaml", "dash.yaml").snakemake(*asked)
    clip.unlink()
    assert done.returncode == 0 and not re.search(r" -[A-Z]", done.stdout), done.stderr


def test_a_table_has_no_more_lenders_than_there_are_and_nobody_drives_themselves(project):
    many, oneself = project.folder / "many.yaml", project.folder / "oneself.yaml"
    many.write_text(f"{PAIRS}\nauxiliary: {{count: 9}}")
    oneself.write_text("tables: {pairs: [Cleo_driven_by_Cleo]}")
    planned = Project(project.folder, "tests/tiny.yaml", str(many)).planned("results/tables/table_5.md")
    assert planned["train_variant"] == 2 + 1  # k = 1 and 2 of three lenders, and all
    done = Project(project.folder, "tests/tiny.yaml", str(oneself)).snakemake("-n", "--", "results/tables/table_2.md")
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "tables.pairs names Cleo_driven_by_Cleo" in said and "Traceback" not in said
