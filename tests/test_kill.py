"""Trainings and workflows that are killed again and again, at random moments, end as one that was left alone.

KILLS=20 in the environment kills each as often; a plain test run does it twice.
"""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tests.clips import images_of
from tests.project_for_tests import DRIVEN, ROOT, Project, copy_project
from tests.stores_for_tests import write_clip
from tests.test_train_stage1 import schedule, weights_of
from tests.test_train_stage2 import clips  # noqa: F401  (a fixture)

KILLS = int(os.environ.get("KILLS", 2))
OFTEN = 1e-4  # minutes between checkpoints: many kills hit one that is being written
SCRIPT = """
import importlib, pickle, sys
module, folder, arguments, changes = pickle.loads(bytes.fromhex(sys.argv[1]))
train = importlib.import_module(f"tests.{module}").train
print("begins", flush=True)
train(folder, *arguments, **changes)
"""


def start(module: str, folder: Path, arguments: tuple, changes: dict) -> subprocess.Popen:
    words = pickle.dumps((module, folder, arguments, changes)).hex()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-c", SCRIPT, words]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout.readline() == "begins\n"
    return process


def finish(module: str, folder: Path, arguments: tuple, changes: dict) -> tuple[str, float]:
    """Run the training to its end; give all that it said and how long it took, in s."""
    process = start(module, folder, arguments, changes)
    begun = time.monotonic()
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return said, time.monotonic() - begun


def survives(module: str, folder: Path, arguments: tuple, changes: dict, whole: float) -> str:
    """Run it to its end past KILLS kills, within half of the `whole` seconds that it took: a machine's pace changes.
    However slow its start, the last kill comes when there is a checkpoint to continue from.

    Gives all that it said.
    """
    moments, said = random.Random(0), ""
    for left in reversed(range(KILLS)):
        process = start(module, folder, arguments, changes)
        time.sleep(moments.uniform(0, whole / 2 / KILLS))
        while not left and not any(folder.glob("*.checkpoint.pt")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        said += process.communicate()[0]
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed often enough"
    return said + finish(module, folder, arguments, changes)[0]


def test_stage1_survives_kills_bit_for_bit(tmp_path):
    arguments = (write_clip(tmp_path / "clip"),)
    changes = {"images": 800 * KILLS, "save_minutes": OFTEN}
    _, seconds = finish("test_train_stage1", tmp_path / "whole", arguments, changes)
    said = survives("test_train_stage1", tmp_path / "killed", arguments, changes, seconds)
    same(tmp_path / "whole/stage1.pt", tmp_path / "killed/stage1.pt", said)


def test_stage2_survives_kills_bit_for_bit(tmp_path, clips, face_mesh_weights):  # noqa: F811
    arguments = (clips, face_mesh_weights[0].parent)
    changes = {"schedule": schedule(images=200 * KILLS, rate=1e-3, save_minutes=OFTEN)}
    _, seconds = finish("test_train_stage2", tmp_path / "whole", arguments, changes)
    said = survives("test_train_stage2", tmp_path / "killed", arguments, changes, seconds)
    same(tmp_path / "whole/stage2.pt", tmp_path / "killed/stage2.pt", said)


def test_the_workflow_survives_kills(tmp_path, face_mesh_weights):
    projects = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        copy_project(tmp_path / name)
        projects.append(Project(tmp_path / name, "tests/tiny.yaml"))
    moments = random.Random(1)
    for _ in range(KILLS):
        process = projects[1].start("--", DRIVEN)
        time.sleep(moments.uniform(1, 6 + 30 / KILLS))  # all together less than the whole takes
        assert process.poll() is None, "it ended before it was killed often enough"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    results = []
    for project in projects:
        done = project.snakemake("--", DRIVEN)
        assert done.returncode == 0, done.stdout + done.stderr
        frames = images_of(project.folder / DRIVEN)
        results.append((frames, (project.folder / DRIVEN).with_suffix(".metrics.json").read_text()))
    assert np.array_equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]


def same(whole: Path, killed: Path, said: str) -> None:
    assert "continuing at step" in said
    for a, b in zip(weights_of(whole), weights_of(killed), strict=True):
        assert torch.equal(a, b)
    left = {path.name for path in killed.parent.iterdir()} ^ {path.name for path in whole.parent.iterdir()}
    assert all(name.startswith(".") for name in left), left
