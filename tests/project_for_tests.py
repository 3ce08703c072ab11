"""A copy of the project in which a test runs the workflow."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DRIVEN = "results/Astronaut_driven_by_Admiral.mp4"  # the demo
PARTS = ("Snakefile", "config.yaml", "pyproject.toml", "workflow", "profiles", "pipeline", "models", "envs", "tests")


class Project:
    """A copy of the project where the workflow is run with the given configuration files."""

    def __init__(self, folder: Path, *configs: str):
        self.folder, self.configs = folder, configs

    def snakemake(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(words), capture_output=True, text=True, check=False, **self.place())

    def start(self, *words: str) -> subprocess.Popen:
        """The same in the background, the leader of a process group of its own."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(self.command(words), start_new_session=True, **quiet, **self.place())

    def command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", *self.configs, *words]

    def place(self) -> dict:
        return {"cwd": self.folder, "env": os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}}

    def planned(self, *targets: str) -> dict[str, int]:
        """Rule -> number of jobs that the same command would run now."""
        done = self.snakemake("-n", "--", *targets)
        assert done.returncode == 0, done.stdout + done.stderr
        return {rule: int(jobs) for rule, jobs in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.M) if rule != "total"}


def copy_project(folder: Path) -> None:
    """Copy what the workflow needs, and the face mesh's weights."""
    for part in PARTS:
        source, copy = ROOT / part, folder / part
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    (folder / "weights").mkdir()
    for name in ("face_landmark_with_attention.tflite", "face_detection_short_range.tflite"):
        shutil.copy(ROOT / "weights" / name, folder / "weights" / name)


def in_two_processes(script: Path) -> None:
    """Launch a script as a training step of two processes."""
    _finish(_started(["pipeline.launch", "2", script.stem], script))


def on_two_nodes(script: Path) -> None:
    """Launch a script as a training step of two nodes, one process on each, as docs/cluster.md does."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    place = ["--master-addr", "localhost", "--master-port", str(port)]
    words = ["torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *place, "--node-rank"]
    _finish(*[_started([*words, str(node), "-m", script.stem], script) for node in range(2)])


def _started(words: list[str], script: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{script.parent}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        said, _ = process.communicate()
        assert process.returncode == 0, said
