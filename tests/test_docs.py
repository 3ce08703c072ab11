"""Every command, Python block, file and link of README.md and docs/ holds.

Commands of Snakemake are planned in a project that has the clips of the examples, those of make likewise; steps run. A
yaml block begins with the name of the file that it is; the commands of its page find it under that name. What can be
done in none of these ways stands under `NOT_RUN`, with the reason.
"""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from pipeline import provenance, stores
from pipeline.code_digest import without_docstrings
from pipeline.encoding import VideoWriter
from pipeline.manifest import read_manifest
from pipeline.sound import write_sound
from tests.clips import click, pictures, write_clip
from tests.portrait_for_tests import export_untrained
from tests.project_for_tests import ROOT, copy_project
from tests.stores_for_tests import face_of
from tests.stores_for_tests import write_clip as write_stores

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
NOT_RUN = {
    "source .venv/bin/activate": "changes the reader's own shell",
    "python -m pipeline.<step>": "stands for every step",
    "pip install": "a word, not an order",
    "pip install snakemake-logger-plugin-rich": "brings a package from outside",
    "snakemake --report results/report.html results/Biden_driven_by_May.mp4 results/Biden_self.mp4": (
        "needs finished results; tests/test_workflow.py makes a report of some"
    ),
}
LANGUAGES = {"sh", "python", "yaml", "diff", "text"}  # text: what no machine reads
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
INLINE = re.compile(r"`((?:snakemake|make|python -m|pip) [^`]+)`")
PLAN = """
import json, os, sys
from snakemake.cli import main

commands, running, status = json.loads(sys.argv[1]), {}, {}
for number, words in enumerate(commands):
    child = os.fork()
    if child == 0:
        said = os.open(f"plan{number}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2)
        sys.argv = ["snakemake", *words]
        main(words)
        os._exit(0)
    running[child] = number
    while len(running) > (1 if number + 1 < len(commands) else 0):
        ended, how = os.wait()
        status[running.pop(ended)] = os.waitstatus_to_exitcode(how)
print(json.dumps([status[number] for number in range(len(commands))]))
"""


def blocks(page: str, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(PAGES[page]) if name == language]


def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of every shell block's lines, without their comments, and of every command within a text."""
    for page, text in PAGES.items():
        lines = [line for body in blocks(page, "sh") for line in body.splitlines()]
        for line in [*lines, *INLINE.findall(FENCE.sub("", text))]:
            if command := line.split(" #")[0].strip():
                yield page, command


COMMANDS = {command: page for page, command in reversed([*commands()]) if command not in NOT_RUN}  # the first page
PLANNED = [(page, command) for command, page in COMMANDS.items() if re.match(r"(\w+=\S+ )*snakemake ", command)]
MADE = sorted(command for command in COMMANDS if command.startswith("make "))
STEPS = sorted(command for command in COMMANDS if command.startswith("python -m pipeline."))


@pytest.fixture(scope="module")
def project(tmp_path_factory, face_mesh_weights) -> Path:
    """A project with the clips of the examples, and empty files for the networks that no plan reads."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    for name in ("videos", "audio"):
        (folder / "data" / name).mkdir(parents=True)
    for name in ("Biden", "May"):
        write_clip(folder / f"data/videos/{name}.mp4", pictures(10), sound=click(0.4, 0.1))
    write_sound(folder / "data/audio/speech.wav", click(0.4, 0.1, 16000), 16000)
    for entry in read_manifest().values():
        (folder / "weights" / entry.file).touch()
    return folder


@pytest.fixture(scope="module")
def planned(project) -> dict[tuple[str, str], tuple[int, str]]:
    """Status and words of every plan, in the order of the pages, with the files of its page. One process makes them
    all: loading Snakemake takes longer than planning."""
    found = {}
    for page in dict.fromkeys(page for page, _ in PLANNED):
        here = [command for of, command in PLANNED if of == page]
        written = [write_file(project, body) for body in blocks(page, "yaml")]
        diffs = blocks(page, "diff")
        for diff in diffs:
            patch(project, diff)
        words = [words_of(command) for command in here]
        done = subprocess.run(
            [sys.executable, "-c", PLAN, json.dumps(words)], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        for number, status in enumerate(json.loads(done.stdout)):
            found[page, here[number]] = (status, (project / f"plan{number}").read_text())
        for diff in diffs:
            patch(project, diff, "--reverse")
        for path in written:
            path.unlink()
    return found


def words_of(command: str) -> list[str]:
    """What Snakemake is given to plan this command; unlocking needs no plan."""
    words = shlex.split(command)
    words = words[words.index("snakemake") + 1 :]
    return words if "--unlock" in words else ["--dry-run", *words]


def write_file(project: Path, body: str) -> Path:
    """Write a yaml block under the name that its first line says."""
    path = project / body.splitlines()[0].removeprefix("# ")
    path.write_text(body)
    return path


def patch(project: Path, diff: str, *options: str) -> None:
    command = ["patch", "--strip=1", "--fuzz=0", "--no-backup-if-mismatch", *options]
    done = subprocess.run(command, cwd=project, input=diff, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_command_is_tried_or_listed_with_the_reason_why_not():
    there = {command for _, command in commands()}
    assert set(NOT_RUN) <= there
    tried = {command for _, command in PLANNED} | set(MADE) | set(STEPS)
    assert there - set(NOT_RUN) == tried and len(PLANNED) > 15


@pytest.mark.parametrize(("page", "command"), PLANNED, ids=[f"{page}: {command}" for page, command in PLANNED])
def test_commands_of_snakemake_have_something_to_do(planned, page, command):
    status, said = planned[page, command]
    assert status == 0, said
    assert re.search(r"^total +\d+$", said, re.M) or "--unlock" in command, said


@pytest.mark.parametrize("command", MADE)
def test_commands_of_make_are_targets_there_are(command):
    done = subprocess.run([*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def portrait_file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("portrait")
    return export_untrained(folder, write_stores(folder / "Biden"), name="Biden", size=32)


@pytest.fixture
def finished(project, portrait_file, monkeypatch) -> Iterator[None]:
    """The results of the examples, and the stores of their target."""
    monkeypatch.chdir(project)
    write_stores(Path("work/clips/Biden"))
    made = provenance.record("pipeline.render", [Path("data/videos/Biden.mp4")], provenance.NO_CONFIG)
    path = Path("results/Biden_driven_by_May.mp4")
    about = {"fps": Fraction(25), "frames": 5, "sound": None, "quality": 20, "comment": "synthetic", "record": made}
    with VideoWriter(path, size=64, **about) as writer:
        writer.write(np.zeros((5, 64, 64, 3), np.uint8))
    exported = Path(shutil.copy(portrait_file, "results"))
    yield
    path.unlink()
    exported.unlink()


@pytest.mark.parametrize("command", STEPS)
def test_commands_of_steps_run(project, finished, command):
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_blocks_run(project, finished, page, capsys):
    for body in blocks(page, "python"):
        exec(compile(body, page, "exec"), {})
    assert capsys.readouterr().out


def test_every_block_says_what_it_is():
    for page, text in PAGES.items():
        assert {name for name, _ in FENCE.findall(text)} <= LANGUAGES and text.count("```") % 2 == 0, page
        for body in blocks(page, "yaml"):
            assert re.fullmatch(r"# \S+\.yaml", body.splitlines()[0]) and isinstance(yaml.safe_load(body), dict), page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_there_are(page):
    links = re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", FENCE.sub("", PAGES[page]))
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_every_page_is_named_in_the_readme():
    assert all(page in PAGES["README.md"] for page in PAGES if page != "README.md")


def test_the_steps_of_the_readme_are_programs():
    path = PAGES["README.md"].split("## The path")[1].split("| folder")[0]
    steps = [
        name for line in path.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    ]
    assert len(steps) > 12
    for step in steps:
        assert "\n    run(main)\n" in (ROOT / f"pipeline/{step}.py").read_text(), step


def texts(source: str) -> Iterator[str]:
    """The texts in a module's code, without its docstrings; what stands between braces is left out."""
    for node in ast.walk(without_docstrings(ast.parse(source))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_message_that_is_explained_is_one_that_is_said():
    said = "\n".join(text for path in ROOT.glob("pipeline/*.py") for text in texts(path.read_text()))
    said += (ROOT / "workflow/rules/common.smk").read_text()
    table = PAGES["docs/footage.md"].split("| it says |")[1]
    explained = re.findall(r"^\| `([^`]+)` \|", table, re.M)
    assert len(explained) > 12 and not [message for message in explained if message not in said]


def test_the_version_is_the_same_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == provenance.version() and cited["version"] in (ROOT / "CHANGELOG.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["license"] == project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / project["license-files"][0]).read_text()


def test_the_layout_of_the_stores_is_as_described(tmp_path):
    text, paths = PAGES["docs/stores.md"], write_stores(tmp_path)
    paths["audio"] = tmp_path / "audio.h5"
    stores.write_audio(paths["audio"], stores.Audio(np.zeros((24, 16, 29), np.float32), 50.0, "test", ""))
    for kind, path in paths.items():
        with h5py.File(path) as file:
            section = re.search(rf"^\| `{kind}\.h5` \|.*?(?=^\| `\w+\.h5`|^\n|\Z)", text, re.M | re.S)[0]
            described = dict(re.findall(r"^\|[^|]*\| `(\w+)` \| \([^|]*\) (\w+) \|", section, re.M))
            assert described == {name: str(data.dtype) for name, data in file.items()}, kind
            for name in file.attrs:
                assert f"`{name}`" in text, name
    assert f"`schema` ({stores.SCHEMA})" in text


def test_the_worked_example_tracks_as_its_page_says(project, tmp_path):
    for diff in blocks("docs/trackers.md", "diff"):
        patch(project, diff)
    paths, out = write_stores(tmp_path), tmp_path / "gaze.h5"
    step = "pipeline.track_gaze --networks weights --tracker head --batch 8 --blink 0.5 --device cpu"
    files = ["--frames", paths["frames"], "--face", paths["face"], "--out", out]
    done = subprocess.run(
        [sys.executable, "-m", *step.split(), *files], cwd=project, capture_output=True, text=True, check=False
    )
    for diff in blocks("docs/trackers.md", "diff"):
        patch(project, diff, "--reverse")
    assert done.returncode == 0, done.stderr
    found, face = stores.read_gaze(out), face_of(24)
    assert found.tracker == "head, test" and found.clip == stores.read_face(paths["face"]).clip
    assert np.allclose(found.gaze[:, 0], -face.pose[:, 1], atol=0.02)  # yaw: to the left of the image is positive
    assert abs(found.gaze[:, 1]).max() < 0.03 and np.ptp(found.gaze[:, 0]) > 0.5
