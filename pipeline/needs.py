"""What a preset needs on this machine: time, memory, disk, networks. torch is loaded only to time a GPU's steps."""

import math
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import yaml

from pipeline.code_digest import ROOT
from pipeline.estimate import GPU_STAGE2_FACTOR, multiply_adds, training_hours
from pipeline.manifest import NETWORKS, read_manifest
from pipeline.provenance import laid_over

GB = 1e9
MINUTE = 1500  # frames of the clip that needs are told for: a minute at 25 frames/s
CLIPS = 2  # that person and a driver
LOOKING = 6e9  # multiply-adds that would take as long as a frame in crop and trackers, by the demo on two cores
IDLE = 0.8  # GB of a step before it loads a clip: torch and the libraries
VALUE = 11  # bytes that training keeps per value the generator computes, measured with three of the presets
PORTRAIT = 0.3  # GB of a person's portraits and checkpoints, at most
STAGES = "train_stage1", "train_stage2"
PRESETS = {"default": ROOT / "config.yaml"} | {
    path.stem: path for path in sorted((ROOT / "workflow/presets").glob("*.yaml"))
}


@dataclass(frozen=True)
class Need:
    """What a preset needs here for a person of one minute, driven by another minute."""

    preset: str
    size: int  # px
    hours: float
    other_trackers: bool  # slower ones than those that `hours` counts
    memory: float  # GB, of the GPU where there is one, else the machine's
    disk: float  # GB
    lacking: list[str]  # networks whose files are not there


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def needs_of(preset: str, rate: float, on_gpu: bool) -> Need:
    """What a preset needs on a processor of `rate` multiply-adds per second, or on the GPU."""
    config = laid_over(read(PRESETS["default"]), read(PRESETS[preset]))
    batch = max(config[stage]["schedule"]["batch"] for stage in STAGES)
    frames = MINUTE * 3 / GB
    looking = MINUTE * (CLIPS + 2) * LOOKING / rate / 3600  # what was rendered is encoded, tracked and shown: twice
    if on_gpu:
        learning = gpu_hours(config)
    else:
        learning = training_hours(config, rate) + MINUTE * multiply_adds(config["model"]) / rate / 3600
    return Need(
        preset=preset,
        size=config["model"]["size"],
        hours=looking + learning,
        other_trackers=config["components"]["face"] != "mediapipe",
        memory=IDLE + frames * config["model"]["size"] ** 2 + batch * VALUE * values(config["model"]) / GB,
        disk=PORTRAIT + CLIPS * frames * config["crop"]["size"] ** 2,
        lacking=[name for name in networks_of(config) if not (Path("weights") / read_manifest()[name].file).exists()],
    )


def networks_of(config: dict) -> list[str]:
    """The networks of a configuration by their names in models/weights.yaml, without the face mesh."""
    measured = [name for name in ("lpips", "fid") if config["measure"][name]]
    used = [name for component in [*config["components"].values(), *measured] for name in NETWORKS[component]]
    identity = [name for name, entry in read_manifest().items() if config["measure"]["identity"].endswith(entry.file)]
    return [name for name in dict.fromkeys([*used, *identity]) if name not in NETWORKS["mediapipe"]]


def values(layout: dict) -> float:
    """Numbers that the generator computes on its way to one image."""
    grid, channels = (layout["size"] // 4) ** 2, layout["channels"]
    if layout["fine_blocks"]:
        blocks = channels * (layout["blocks"] * 6 / 4 + layout["fine_blocks"] * 4)
    else:
        blocks = layout["blocks"] * 2 * channels
    return grid * (layout["layers"] * layout["width"] + blocks + 4 * channels / 2 + 16 * channels / 4)


def gpu_hours(config: dict) -> float:
    """Hours of both stages on the GPU, from steps of the generator alone."""
    import torch

    place, total = torch.device("cuda"), 0.0
    try:
        for stage, factor in zip(STAGES, (1, GPU_STAGE2_FACTOR), strict=True):
            schedule = config[stage]["schedule"]
            steps = schedule["images"] / schedule["batch"]
            total += steps * factor * step_seconds(config["model"], schedule["batch"], place)
    except torch.OutOfMemoryError:
        return math.inf
    return total / 3600


def step_seconds(layout: dict, batch: int, place) -> float:
    """Seconds of a training step of the generator: forward and backward, the best of three."""
    import torch

    from pipeline.device import half_precision
    from pipeline.motion import still_motion
    from pipeline.portrait import Layout, build_generator
    from pipeline.replay import Replay

    generator = build_generator(Layout(**layout, driving="video")).to(place)

    def gradients(code, **motion):
        generator.zero_grad(set_to_none=True)
        with half_precision(place):
            image = generator(motion, code)[0]
        image.float().square().mean().backward()

    motion = still_motion(batch, place)
    code, seconds, replay = torch.zeros(batch, layout["code"], device=place), [], Replay(gradients)
    for _ in range(4):
        start = perf_counter()
        replay(code=code, **motion)
        if place.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    return min(seconds[1:])  # the first chooses kernels
