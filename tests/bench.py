"""Speed of the parts that count, each beside its plain twin and the machine's limit, measured in one run: `make bench`.

A twin does the same work the plain way: float32, the framework's own layouts and optimiser, one frame at a time. Ratios
of one run hold from machine to machine, milliseconds do not. The limit is the time that the matrix products alone would
take at the rate that large ones reach here.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import skimage.data
import torch
import tyro
import yaml
from torch.utils.flop_counter import FlopCounterMode

from models import losses
from pipeline import train_stage1
from pipeline.device import has_bfloat16, pick_device
from pipeline.measure import decoded
from pipeline.media import VideoWriter
from pipeline.portrait import Layout, build_generator
from pipeline.time_generator import PAPERS, device_name, median_seconds, still_motion
from pipeline.trackers import open_face_tracker
from pipeline.training import Schedule
from tests.stores_for_tests import write_clip

ROOT = Path(__file__).parent.parent
SECONDS = 3.0  # of timing, each side of a row
PRODUCT = 2048  # side of the matrices that show the machine's rate
FRAMES, SIDE, BATCH = 256, 512, 32  # of the tracked clip: frames, px, frames at once
STEPS = 8, 40  # of the two trainings whose difference is the time of a step, without loading and saving


@dataclass(frozen=True)
class Row:
    name: str
    device: str
    ours_ms: float
    twin_ms: float
    ratio: float  # twin over ours
    limit_ratio: float | None  # part of the limit that ours reaches
    peak_mb: float  # of the process while ours ran; of the GPU where there is one


def main(*, out: Path = ROOT / "results/bench.json", preset: Path = ROOT / "workflow/presets/demo.yaml") -> None:
    """Measure.

    Args:
        out: the rows, JSON; a Markdown table goes beside it.
        preset: laid over config.yaml; its portraits are what is trained.
    """
    place = pick_device("auto")
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    over = yaml.safe_load(preset.read_text())
    layout = Layout(**config["model"] | over.get("model", {}), driving="video")
    schedule = Schedule(**config["train_stage1"]["schedule"] | over.get("train_stage1", {}).get("schedule", {}))
    rate = product_rate(place)
    rows = [
        generator_row(f"generator, the paper's, batch {count}", replace(PAPERS, size=size), count, place, rate)
        for size in (256, 512)
        for count in (1, 8)
    ]
    rows.append(generator_row("generator, configured, batch 1", layout, 1, place, rate))
    rows.append(step_row(layout, schedule, place, rate))
    rows.append(tracker_row(place))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    text = table(
        rows, f"{device_name(place)}, load {os.getloadavg()[0]:.1f}; matrix products at {rate / 1e12:.2f} TFLOP/s"
    )
    out.with_suffix(".md").write_text(text)
    print(text)


def generator_row(name: str, layout: Layout, count: int, place: torch.device, rate: float) -> Row:
    """Rendering `count` frames at once as `render` does, against the network in float32, plainly laid out."""
    ours, twin = build_generator(layout).to(place), plain(layout, place)
    motion, code = still_motion(count, place), torch.zeros(count, layout.code, device=place)

    @torch.inference_mode()
    def fast() -> None:
        with torch.autocast(place.type, torch.bfloat16, enabled=has_bfloat16(place)):
            ours(motion, code)

    @torch.inference_mode()
    def slow() -> None:
        for frame in range(count):
            twin({part: value[frame : frame + 1] for part, value in motion.items()}, code[:1])

    with FlopCounterMode(display=False) as counter:
        fast()
    return row(f"{name}, {layout.size} px", place, lambda: timed(fast), lambda: timed(slow), counter, rate)


def step_row(layout: Layout, schedule: Schedule, place: torch.device, rate: float) -> Row:
    """A step of Stage I as it is, against the textbook's loop on as many images."""
    twin = plain(layout, place)
    images = torch.rand(schedule.batch, 3, layout.size, layout.size, device=place)
    motion, code = still_motion(schedule.batch, place), torch.zeros(schedule.batch, layout.code, device=place)
    optimiser = torch.optim.Adam(twin.parameters(), lr=1e-4)

    def slow() -> None:
        image, colours = twin(motion, code)
        optimiser.zero_grad()
        losses.reconstruction(image, colours, images).backward()
        optimiser.step()

    with FlopCounterMode(display=False) as counter:
        slow()
    with TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip", frames=64, size=layout.size)
        few, many = (trained(clip, layout, replace(schedule, images=steps * schedule.batch)) for steps in STEPS)

        def ours() -> float:
            return (many() - few()) / (STEPS[1] - STEPS[0])

        return row(
            f"Stage I step, batch {schedule.batch}, {layout.size} px", place, ours, lambda: timed(slow), counter, rate
        )


def trained(clip: dict[str, Path], layout: Layout, schedule: Schedule) -> Callable[[], float]:
    """Seconds of a whole training."""
    folder = clip["frames"].parent
    weights = train_stage1.Weights(reconstruction=100, velocity=1, lips=0)
    what = {"layout": layout, "schedule": schedule, "weights": weights, "held_out": 0.1, "device": "auto"}

    def seconds() -> float:
        start = perf_counter()
        train_stage1.main(**clip, out=folder / "stage1.pt", history=folder / "losses.tsv", **what)
        return perf_counter() - start

    return seconds


def tracker_row(place: torch.device) -> Row:
    """A clip from its file to its landmarks, per frame, against one frame at a time."""
    tracker = open_face_tracker("mediapipe", ROOT / "weights", place)
    with TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        with VideoWriter(clip, size=SIDE, fps=Fraction(25), sound=None, quality=18, comment="bench") as video:
            for frame in range(FRAMES):
                video.write(np.roll(skimage.data.astronaut(), frame % 64, axis=1)[None])

        def tracked(batch: int) -> float:
            start = perf_counter()
            tracker.track(partial(decoded, clip, SIDE, batch), SIDE)
            return (perf_counter() - start) / FRAMES

        tracked(BATCH)  # kernels are chosen
        return row(f"tracker, a frame of {SIDE} px from its file", place, lambda: tracked(BATCH), lambda: tracked(1))


def row(
    name: str,
    place: torch.device,
    ours: Callable[[], float],
    twin: Callable[[], float],
    counter: FlopCounterMode | None = None,
    rate: float = 0.0,
) -> Row:
    """Time both, in seconds; `counter` holds the operations of ours, `rate` is the machine's."""
    restart_peak(place)
    seconds, peak = ours(), peak_mb(place)
    limit = counter.get_total_flops() / rate / seconds if counter else None
    slow = twin()
    return Row(name, place.type, 1e3 * seconds, 1e3 * slow, slow / seconds, limit, peak)


def timed(function: Callable[[], object]) -> float:
    return median_seconds(function, SECONDS)


def product_rate(place: torch.device) -> float:
    """Operations per second of large matrix products, in the precision that the networks use here."""
    precision = torch.bfloat16 if has_bfloat16(place) else torch.float32
    a = torch.ones(PRODUCT, PRODUCT, dtype=precision, device=place)
    return 2 * PRODUCT**3 / timed(lambda: a @ a)


def plain(layout: Layout, place: torch.device) -> torch.nn.Module:
    return build_generator(layout).to(place, memory_format=torch.contiguous_format)


def restart_peak(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew


def peak_mb(place: torch.device) -> float:
    if place.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def table(rows: list[Row], machine: str) -> str:
    head = ["", "device", "ours, ms", "twin, ms", "times as fast", "of the limit", "peak, MB"]
    cells = [
        [
            each.name,
            each.device,
            f"{each.ours_ms:.2f}",
            f"{each.twin_ms:.2f}",
            f"{each.ratio:.2f}",
            "" if each.limit_ratio is None else f"{100 * each.limit_ratio:.0f} %",
            f"{each.peak_mb:.0f}",
        ]
        for each in rows
    ]
    lines = [f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *cells]]
    return "\n".join([f"Measured on {machine}.", "", *lines, ""])


if __name__ == "__main__":
    tyro.cli(main)
