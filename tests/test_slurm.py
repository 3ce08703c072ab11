"""The whole workflow on a Slurm of its own, past a cancelled job and a failed node: `make test-slurm`."""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml

from tests.project_for_tests import ROOT, Project, copy_project

STAGE1 = "work/portraits/Astronaut/video/stage1.pt"
STAGE2 = "work/portraits/Astronaut/video/stage2.pt"
RESULT = "results/Astronaut_driven_by_Admiral.mp4"
PROFILE = "profiles/slurm"
FOLDER = Path(os.environ.get("OWN_SLURM", ""))  # where tests/with_slurm.sh keeps its Slurm


def needs_slurm(test: Callable) -> Callable:
    return pytest.mark.slurm(pytest.mark.skipif("OWN_SLURM" not in os.environ, reason="make test-slurm runs it")(test))


class OnSlurm(Project):
    """A project whose jobs are sent to Slurm."""

    def snakemake(self, *words: str) -> subprocess.CompletedProcess:
        options = f"--workflow-profile={PROFILE} --slurm-partition-config=tests/slurm_partitions.yaml --max-threads=1"
        return super().snakemake(*options.split(), "--slurm-init-seconds-before-status-checks=3", *words)

    def make_through(self, incident: Callable[[], None], target: str) -> subprocess.CompletedProcess:
        """Make a target; when its training has left a checkpoint, let something happen to it."""
        with ThreadPoolExecutor() as pool:
            run = pool.submit(self.snakemake, "--", target)
            checkpoint = (self.folder / target).with_suffix(".checkpoint.pt")
            wait_until(lambda: checkpoint.exists() or run.done())
            incident()
            return run.result()

    def begun_at(self, step: str) -> int:
        """The training step at which the last run of a step began."""
        log = (self.folder / "logs" / step / "Astronaut.log").read_text()
        said = re.search(r"continuing at step (\d+)", log)
        return int(said[1]) if said else 0


def ask(*command: str) -> str:
    """What a Slurm command says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def wait_until(true: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def jobs(name: str = "") -> list[dict[str, str]]:
    """Slurm's jobs so far whose comment, set by Snakemake, contains the name, in the order sent."""
    columns = "JobID:|,Partition:|,State:|,tres-per-job:|,Comment:"
    lines = ask("squeue", "--states=all", "--sort=i", "--noheader", "--Format", columns).splitlines()
    found = [dict(zip(("id", "partition", "state", "gpu", "comment"), line.split("|"), strict=True)) for line in lines]
    return [job for job in found if name in job["comment"]]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a portrait by its place in the file."""

    def walk(value: object, name: str) -> dict[str, torch.Tensor]:
        if isinstance(value, torch.Tensor):
            return {name: value}
        items = value.items() if isinstance(value, dict) else ()
        return {place: tensor for key, part in items for place, tensor in walk(part, f"{name}/{key}").items()}

    return walk(torch.load(path, weights_only=True), "")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def project(tmp_path_factory, face_mesh_weights) -> OnSlurm:
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    project = OnSlurm(folder, "tests/tiny.yaml", "tests/tiny_slurm.yaml")
    done = project.snakemake("--", RESULT)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@needs_slurm
def test_the_path_ends_in_a_result_made_by_few_jobs(project):
    report = json.loads((project.folder / RESULT).with_suffix(".metrics.json").read_text())
    assert report["frames"] == 50 and report["face_found"] > 0.5
    sent = [re.match(r"rule_(prepare|coverage|train_stage.|result)", job["comment"])[1] for job in jobs()]
    sent.remove("coverage")  # at any time after the preparation
    assert sent == ["prepare", "prepare", "train_stage1", "train_stage2", "result"]
    assert len(list(project.folder.glob("benchmarks/*/*.tsv"))) == 15  # one per step


@needs_slurm
def test_jobs_that_ask_for_a_gpu_get_one_and_the_others_none(project):
    seen = dict(line.rstrip("\n").split(" ") for line in (FOLDER / "gpus").read_text().splitlines())
    for job in jobs():
        asks = not re.match("rule_(prepare|coverage)", job["comment"])
        assert (job["partition"], job["gpu"]) == (("gpu", "gres:gpu:1") if asks else ("cpu", "N/A"))
        assert (seen[job["id"]] in ("0", "1")) == asks, job


@needs_slurm
def test_a_cancelled_training_is_sent_again_and_goes_on_from_its_checkpoint(project):
    before, file = tensors(project.folder / STAGE1), project.folder / STAGE1
    file.unlink()
    done = project.make_through(lambda: ask("scancel", jobs("train_stage1")[-1]["id"]), STAGE1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [job["state"] for job in jobs("train_stage1")][-2:] == ["CANCELLED", "COMPLETED"]
    assert project.begun_at("train_stage1") > 0
    assert same(before, tensors(file))


@needs_slurm
def test_a_failed_node_costs_no_finished_work(project):
    finished = [*project.folder.glob("work/clips/*/*"), *project.folder.glob("work/actors/*"), project.folder / STAGE1]
    times, before, count = [path.stat().st_mtime_ns for path in finished], tensors(project.folder / STAGE2), len(jobs())
    (project.folder / STAGE2).unlink()
    node = socket.gethostname().split(".")[0]  # comes back by itself; Slurm starts the job again after two minutes
    done = project.make_through(
        lambda: ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test"), STAGE2
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(jobs()) == count + 1  # the same job, started again by Slurm
    assert project.begun_at("train_stage2") > 0
    assert same(before, tensors(project.folder / STAGE2))
    assert [path.stat().st_mtime_ns for path in finished] == times and len(times) == 11


def test_every_training_gets_the_time_of_a_training():
    profile = yaml.safe_load((ROOT / PROFILE / "config.yaml").read_text())
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    names = set(re.findall(r"^(?:use rule \w+ as|rule) (train_(?!lips)\w+)", rules, re.M))
    given = {name for name, resources in profile["set-resources"].items() if "runtime" in resources}
    assert names == given and len(names) == 9
