"""Table 7 of the paper: parameters and speed of the generator on this machine, one frame at a time."""

import csv as csv_format
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from pipeline.cli import run
from pipeline.device import pick_device
from pipeline.files import whole
from pipeline.motion import still_motion
from pipeline.plots import BLUE, save, tidy
from pipeline.portrait import Layout, Renderer, blank_portrait

PAPERS = Layout(
    size=256,
    width=128,
    layers=8,
    channels=256,
    blocks=6,
    fine_blocks=0,
    code=32,
    upsampling="bilinear",
    position=False,
    driving="video",
)
SECONDS = 3  # of timing, each layout
HEADER = ["layout", "size", "parameters", "GMAC", "ms", "frames/s", "device"]
PAPER_ROWS = [  # on a GeForce RTX 3090, as the paper states them
    ["the paper's figures", "256", "7.6M", "", "14.3", "70.2", "GeForce RTX 3090"],
    ["the paper's figures", "512", "7.6M", "", "28.1", "35.6", "GeForce RTX 3090"],
]


def main(*, csv: Path, markdown: Path, picture: Path, layout: Layout, device: str) -> None:
    """Time the paper's generator at 256 and 512 px, and the configuration's own.

    Args:
        csv, markdown: the table.
        picture: its frames per second as bars, PNG.
        layout: of the configuration's portraits.
        device: "cpu", "cuda" or "auto".
    """
    place = pick_device(device)
    name = device_name(place)
    layouts = [
        ("this configuration", layout),
        ("the same, transposed convolutions (DNP)", replace(layout, upsampling="transposed")),
        *(("the paper's layout", replace(PAPERS, size=size)) for size in (256, 512)),
    ]
    rows = [[label, *timed(each, place), name] for label, each in layouts]
    write(csv, markdown, [*rows, *PAPER_ROWS])
    draw(picture, [*rows, *PAPER_ROWS])
    print(markdown.read_text())


def timed(layout: Layout, place: torch.device) -> list[str]:
    """Size, parameters, multiply-adds, milliseconds and frames per second of a layout, as `render` runs it."""
    person, motion = blank_portrait(layout, place), still_motion(1, place)
    renderer = Renderer(person)
    for _ in range(3):  # the first passes choose kernels
        renderer.on_device(motion)
    seconds = median_seconds(lambda: renderer.on_device(motion), SECONDS)
    count = sum(parameter.numel() for parameter in person.generator.parameters())
    with FlopCounterMode(display=False) as counter:
        person.generator(motion, person.code)
    work = counter.get_total_flops() / 2e9  # a multiply-add is two operations
    return [str(layout.size), f"{count / 1e6:.2f}M", f"{work:.2f}", f"{seconds * 1e3:.1f}", f"{1 / seconds:.1f}"]


def median_seconds(function: Callable[[], object], least: float) -> float:
    """Median of a call, repeated for `least` seconds or more; waits for the GPU."""
    timer = Timer("function()", globals={"function": function}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=least).median


def device_name(place: torch.device) -> str:
    """The GPU's name, or the processor's and the number of threads."""
    if place.type == "cuda":
        return torch.cuda.get_device_name(place)
    return f"{processor()}, {torch.get_num_threads()} threads"


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor"


def write(csv: Path, markdown: Path, rows: list[list[str]]) -> None:
    with whole(csv) as temporary, open(temporary, "w", newline="") as file:
        csv_format.writer(file).writerows([HEADER, *rows])
    lines = ["# Table 7: the generator's forward pass, one frame at a time", ""]
    lines += [f"| {' | '.join(row)} |" for row in [HEADER, ["---"] * len(HEADER), *rows]]
    with whole(markdown) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def draw(path: Path, rows: list[list[str]]) -> None:
    figure = Figure(figsize=(9, 0.6 + 0.5 * len(rows)), dpi=100, layout="constrained")
    axes = figure.subplots()
    labels = [f"{label}, {size} px\n{device}" for label, size, *_, device in rows]
    bars = axes.barh(labels, [float(row[HEADER.index("frames/s")]) for row in rows], color=BLUE)
    axes.bar_label(bars, fmt=" %.1f", fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel="frames/s, forward pass of one frame at a time", xmargin=0.1)
    tidy(axes)
    save(path, figure)


if __name__ == "__main__":
    run(main)
