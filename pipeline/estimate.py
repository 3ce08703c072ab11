"""How long training will take on this machine, said before it starts. Light: no torch, a fraction of a second."""

import os
import re
import shutil
from pathlib import Path
from time import process_time

import numpy as np

TRAINING_PASSES = 3  # forward, and backward for inputs and for weights
STAGE2_FACTOR = 1.4  # the mesh and the discriminator beside the generator, measured with the demo preset
GPU_STAGE2_FACTOR = 2.7  # the same on an H100, with the presets `fast` and `paper`
FLOAT32, BFLOAT16 = 0.5, 1.0  # part of the float32 matrix rate that training reaches, by the arithmetic there is
PATIENCE = 1.0  # hours
TRAINING_THREADS = 8  # at most


def multiply_adds(layout: dict) -> float:
    """Multiply-adds of the generator for one image; `layout` is the config's `model` section."""
    grid, width, channels = (layout["size"] // 4) ** 2, layout["width"], layout["channels"]
    mlp = (layout["layers"] - 1) * width**2 + width * channels
    if layout["fine_blocks"]:  # pixels' channels are mixed twice in a block, its depthwise kernel hardly counts
        blocks = 2 * channels**2 * (layout["blocks"] + 2 * layout["fine_blocks"])
        blocks += 4 * width * channels + 4 * channels**2
    else:
        blocks = layout["blocks"] * 2 * 9 * channels**2
    doublings = 4 * 4 * channels * (channels // 2) + 16 * 4 * (channels // 2) * (channels // 4)
    return grid * (mlp + blocks + doublings + 16 * 49 * 3 * (channels // 4))


def matrix_rate(cores: int) -> float:
    """Multiply-adds per second of a training on this machine's processor when so many cores are free for it.

    Measured on a float32 matrix product. The processor's own time counts, which other programs hardly change, divided
    among the threads that will share the work.
    """
    threads = min(cores, TRAINING_THREADS, len(os.sched_getaffinity(0)))
    a = np.ones((1024, 1024), np.float32)
    a @ a  # threads start here
    seconds = []
    for _ in range(5):
        start = process_time()
        a @ a
        seconds.append(process_time() - start)
    return 1024**3 * threads / min(seconds)


def efficiency() -> float:
    """Part of the float32 matrix-product rate that training reaches on this machine's processor."""
    about = Path("/proc/cpuinfo")
    has_bfloat16 = about.exists() and re.search(r"\b(avx512_bf16|amx_bf16)\b", about.read_text())
    return BFLOAT16 if has_bfloat16 else FLOAT32


def training_hours(config: dict, rate: float) -> float:
    """Hours of both stages on this processor, whose matrix products reach `rate` multiply-adds per second."""
    images = config["train_stage1"]["schedule"]["images"] + STAGE2_FACTOR * config["train_stage2"]["schedule"]["images"]
    return images * TRAINING_PASSES * multiply_adds(config["model"]) / (rate * efficiency()) / 3600


def announce_duration(config: dict, cores: int) -> None:
    """Where no GPU trains and so many cores will be slow, say how slow, and what is quick."""
    if config["device"] == "cuda" or (config["device"] == "auto" and shutil.which("nvidia-smi")):
        return
    hours = training_hours(config, matrix_rate(cores))
    if hours > PATIENCE:
        print(
            f"Without a GPU a person's training takes about {hours:.0f} hours here with this configuration.\n"
            "The demo preset takes minutes: add --configfile workflow/presets/demo.yaml. Going on as asked.",
            flush=True,
        )
