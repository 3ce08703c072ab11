"""Table 7 of the paper: parameters and speed of the generator on this machine, one frame at a time."""

import platform
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from pipeline.cli import run
from pipeline.device import has_bfloat16, pick_device
from pipeline.files import whole
from pipeline.motion import WIDTHS
from pipeline.portrait import Layout, build_generator

PAPERS = Layout(
    size=256,
    width=128,
    layers=8,
    channels=256,
    blocks=6,
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
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else f"{processor()}, {torch.get_num_threads()}"
    name += "" if place.type == "cuda" else " threads"
    layouts = [
        ("this configuration", layout),
        ("the same, transposed convolutions (DNP)", replace(layout, upsampling="transposed")),
        *(("the paper's layout", replace(PAPERS, size=size)) for size in (256, 512)),
    ]
    rows = [[label, *timed(each, place), name] for label, each in layouts]
    write(csv, markdown, [*rows, *PAPER_ROWS])
    draw(picture, [*rows, *PAPER_ROWS])
    print(markdown.read_text())


@torch.inference_mode()
def timed(layout: Layout, place: torch.device) -> list[str]:
    """Size, parameters, multiply-adds, milliseconds and frames per second of a layout, as `render` runs it."""
    generator = build_generator(layout).to(place).eval()
    motion = {
        name: torch.zeros(1, generator.inputs.get(name, width), device=place) for name, width in WIDTHS["video"].items()
    }
    motion["position"][:, 2] = 0.3  # of a face: its size is divided by
    code = torch.zeros(1, layout.code, device=place)

    def frame() -> None:
        with torch.autocast(place.type, torch.bfloat16, enabled=has_bfloat16(place)):
            generator(motion, code)

    for _ in range(3):  # the first passes choose kernels
        frame()
    timer = Timer("frame()", globals={"frame": frame}, num_threads=torch.get_num_threads())
    seconds = timer.blocked_autorange(min_run_time=SECONDS).median
    count = sum(parameter.numel() for parameter in generator.parameters())
    with FlopCounterMode(display=False) as counter:
        frame()
    work = counter.get_total_flops() / 2e9  # a multiply-add is two operations
    return [str(layout.size), f"{count / 1e6:.2f}M", f"{work:.2f}", f"{seconds * 1e3:.1f}", f"{1 / seconds:.1f}"]


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor"


def write(csv: Path, markdown: Path, rows: list[list[str]]) -> None:
    with whole(csv) as temporary:
        temporary.write_text("\n".join(",".join(f'"{cell}"' for cell in row) for row in [HEADER, *rows]) + "\n")
    lines = ["# Table 7: the generator's forward pass, one frame at a time", ""]
    lines += [f"| {' | '.join(row)} |" for row in [HEADER, ["---"] * len(HEADER), *rows]]
    with whole(markdown) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def draw(path: Path, rows: list[list[str]]) -> None:
    figure = Figure(figsize=(9, 0.6 + 0.5 * len(rows)), dpi=100, layout="constrained")
    axes = figure.subplots()
    labels = [f"{label}, {size} px\n{device}" for label, size, *_, device in rows]
    bars = axes.barh(labels, [float(row[HEADER.index("frames/s")]) for row in rows], color="#1f77b4")
    axes.bar_label(bars, fmt=" %.1f", fontsize=9)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set(xlabel="frames/s, forward pass of one frame at a time", xmargin=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    with whole(path) as temporary:
        figure.savefig(temporary)


if __name__ == "__main__":
    run(main)
