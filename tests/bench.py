"""Speed of the parts that count, each beside its plain twin and the machine's limit, measured in one run: `make bench`.

A twin does the same work the plain way (tests/textbook.py), one frame at a time where frames are independent. Ratios of
one run hold from machine to machine, milliseconds do not. The limit is the time that the matrix products alone would
take at the rate that large ones reach here; of tracking, decoding alone; of rendering, the slowest of its parts alone.
"""

import json
import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time

import numpy as np
import skimage.data
import torch
import tyro
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.discriminator import Discriminator
from models.generator import Generator
from pipeline import crop, make_actor, render, track_face, track_gaze, train_stage1, train_stage2
from pipeline.device import GLIBC, has_bfloat16, keep_freed_memory, pick_device
from pipeline.encoding import VideoWriter
from pipeline.measure import decoded
from pipeline.motion import Motion, still_motion
from pipeline.perception import open_perception
from pipeline.portrait import Layout, Renderer, blank_portrait, build_generator, load_portrait
from pipeline.provenance import laid_over
from pipeline.time_generator import PAPERS, device_name, median_seconds
from pipeline.trackers import open_face_tracker
from pipeline.training import Schedule, load_performing
from tests.project_for_tests import DRIVEN, ROOT, Project, copy_project
from tests.textbook import stage1_step, stage2_step, textbook

NETWORKS = ROOT / "weights"
SECONDS = 3.0  # of timing, each side of a row
PRODUCT = {"cpu": 2048, "cuda": 8192}  # side of the matrices that show the machine's rate
FRAMES, SIDE, BATCH = 256, 512, 32  # of the tracked clip: frames, px, frames at once
PASSES = 2  # in which the tracker reads a clip
ACTOR_SECONDS = 20.0  # of the clip that is learned and rendered
STEPS = 10, 210  # of the two trainings whose difference is the time of a step, without loading and saving
GLIBC_BLOCK = 2**25  # bytes: freed blocks up to these a process comes to keep when nobody asks
WORK = "track_face", "track_gaze", "train_stage1", "train_stage2", "render", "present"  # what a demo's time is for


@dataclass(frozen=True)
class Row:
    name: str
    device: str
    ours_ms: float
    twin_ms: float
    ratio: float  # twin over ours
    limit_ratio: float | None  # part of the limit that ours reaches
    peak_mb: float  # of the process while ours ran; of the GPU where there is one


def main(
    *,
    out: Path = ROOT / "results/bench.json",
    preset: Path = ROOT / "workflow/presets/demo.yaml",
    demo: bool = True,
) -> None:
    """Measure.

    Args:
        out: the rows, JSON; a Markdown table goes beside it.
        preset: laid over config.yaml; its portraits are what is trained and rendered.
        demo: run the whole workflow too, minutes.
    """
    place = pick_device("auto")
    config = laid_over(yaml.safe_load((ROOT / "config.yaml").read_text()), yaml.safe_load(preset.read_text()))
    layout = Layout(**config["model"], driving="video")
    rate = product_rate(place)
    rows = [
        generator_row(f"generator, the paper's, batch {count}", replace(PAPERS, size=size), count, place, rate)
        for size in (256, 512)
        for count in (1, 8)
    ]
    rows.append(generator_row("generator, configured, batch 1", layout, 1, place, rate))
    rows.append(tracker_row(place))
    with TemporaryDirectory() as folder:
        clip = learned_clip(Path(folder), config)
        rows.append(stage1_row(clip, layout, config, place, rate))
        rows.append(stage2_row(clip, layout, config, place, rate))
        rows.append(render_row(clip, config, place))
    if demo:
        rows.append(demo_row(preset, place))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    load = f"load {os.getloadavg()[0]:.1f}"
    text = table(rows, f"{device_name(place)}, {load}; matrix products at {rate / 1e12:.2f} TFLOP/s")
    out.with_suffix(".md").write_text(text)
    print(text)


def generator_row(name: str, layout: Layout, count: int, place: torch.device, rate: float) -> Row:
    """Rendering `count` frames at once as `render` does, against the textbook's network."""
    person, motion = blank_portrait(layout, place), still_motion(count, place)
    renderer, twin = Renderer(person), textbook(person.generator)

    def fast() -> None:
        renderer.on_device(motion)

    @torch.inference_mode()
    def slow() -> None:
        for frame in range(count):
            twin({part: value[frame : frame + 1] for part, value in motion.items()}, person.code)

    limit = operations(lambda: person.generator(motion, person.code.expand(count, -1))) / rate
    return row(f"{name}, {layout.size} px", place, lambda: timed(fast), lambda: timed(slow), limit)


def tracker_row(place: torch.device) -> Row:
    """A clip from its file to its landmarks, per frame, against one frame at a time."""
    tracker = open_face_tracker("mediapipe", NETWORKS, place)
    with TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        about = {"size": SIDE, "fps": make_actor.FPS, "frames": FRAMES, "sound": None, "quality": 18}
        with VideoWriter(clip, **about, comment="bench") as video:
            for frame in range(FRAMES):
                video.write(np.roll(skimage.data.astronaut(), frame % 64, axis=1)[None])

        def tracked(batch: int) -> float:
            return seconds_of(lambda: tracker.track(partial(decoded, clip, SIDE, batch), SIDE)) / FRAMES

        tracked(BATCH)  # kernels are chosen
        limit = PASSES * seconds_of(lambda: deque(decoded(clip, SIDE, BATCH), maxlen=0)) / FRAMES
        name = f"tracker, a frame of {SIDE} px from its file"
        return row(name, place, lambda: tracked(BATCH), lambda: tracked(1), limit)


def learned_clip(folder: Path, config: dict) -> dict[str, Path]:
    """Stores of a demo actor, by the names that the training steps give them, and the sound."""
    clip = {name: folder / f"{name}.h5" for name in ("frames", "face", "gaze")}
    shared = {"networks": NETWORKS, "tracker": "mediapipe", "device": config["device"]}
    make_actor.main(
        actor="Astronaut", networks=NETWORKS, out=folder / "a.mp4", seconds=ACTOR_SECONDS, size=SIDE // 2, seed=0
    )
    crop.main(video=folder / "a.mp4", out=clip["frames"], audio=folder / "audio.wav", **config["crop"], **shared)
    track_face.main(frames=clip["frames"], out=clip["face"], **config["track_face"], **shared)
    track_gaze.main(frames=clip["frames"], face=clip["face"], out=clip["gaze"], **config["track_gaze"], **shared)
    return clip


def stage1_row(clip: dict[str, Path], layout: Layout, config: dict, place: torch.device, rate: float) -> Row:
    """A step of Stage I as it is, against the textbook's on as many images."""
    schedule = Schedule(**config["train_stage1"]["schedule"])
    images = torch.rand(schedule.batch, 3, layout.size, layout.size, device=place)
    motion, code = still_motion(schedule.batch, place), torch.zeros(schedule.batch, layout.code, device=place)
    twin = stage1_step(textbook(build_generator(layout).to(place)), schedule, motion, code, images)
    folder = clip["frames"].parent
    weights = train_stage1.Weights(**config["train_stage1"]["weights"])

    def train(steps: int) -> None:
        train_stage1.main(
            **clip,
            out=folder / "stage1.pt",
            history=folder / "losses.tsv",
            preview=folder / "preview.png",
            layout=layout,
            schedule=replace(schedule, images=steps * schedule.batch),
            weights=weights,
            held_out=config["held_out"],
            blinks=config["blinks"],
            device=config["device"],
        )

    limit = generator_operations(build_generator(layout).to(place), schedule, motion, code, images) / rate
    name = f"Stage I step, batch {schedule.batch}, {layout.size} px"
    return row(name, place, lambda: per_step(train), lambda: timed(twin), limit)


def stage2_row(clip: dict[str, Path], layout: Layout, config: dict, place: torch.device, rate: float) -> Row:
    """A step of Stage II as it is, against the textbook's on as many images; the limit is the generator's products."""
    schedule = Schedule(**config["train_stage2"]["schedule"])
    critic = train_stage2.Critic(**config["train_stage2"]["critic"])
    weights = train_stage2.Weights(**config["train_stage2"]["weights"])
    folder, batch = clip["frames"].parent, schedule.batch
    shared = {"consistency": "mediapipe", "perceptual": "mediapipe", "networks": NETWORKS}
    data = load_performing(
        **clip, audio=None, size=layout.size, held_out=config["held_out"], blinks=0, device=torch.device("cpu")
    )
    perception, _ = open_perception(**shared, frames=clip["frames"], face=clip["face"], data=data)
    motion = {name: value[:batch].to(place) for name, value in data.motion.items()}
    code, images = torch.zeros(batch, layout.code, device=place), torch.rand(batch // 2, 3, layout.size, layout.size)
    generator, judge = build_generator(layout).to(place), Discriminator(channels=critic.channels).to(place)
    twin = stage2_step(textbook(generator), schedule, judge, perception.to(place), motion, code, images.to(place))

    def train(steps: int) -> None:
        train_stage2.main(
            stage1=folder / "stage1.pt",
            **clip,
            auxiliary_face=[clip["face"]],
            auxiliary_gaze=[clip["gaze"]],
            out=folder / "stage2.pt",
            history=folder / "losses.tsv",
            preview=folder / "preview.png",
            schedule=replace(schedule, images=steps * batch),
            weights=weights,
            critic=critic,
            held_out=config["held_out"],
            blinks=config["blinks"],
            transfer=config["transfer"],
            device=config["device"],
            **shared,
        )

    pictures = images.new_zeros(batch, 3, layout.size, layout.size).to(place)
    limit = generator_operations(generator, schedule, motion, code, pictures) / rate
    return row(
        f"Stage II step, batch {batch}, {layout.size} px", place, lambda: per_step(train), lambda: timed(twin), limit
    )


def render_row(clip: dict[str, Path], config: dict, place: torch.device) -> Row:
    """A frame from stored motion into a video file, against one frame at a time; the limit is the slower part alone."""
    folder = clip["frames"].parent
    person = load_portrait(folder / "stage2.pt", place)
    count, batch, size = round(ACTOR_SECONDS * make_actor.FPS), config["render"]["batch"], person.layout.size
    motion, twin = still_motion(batch, place), replace(person, generator=textbook(person.generator))

    def rendered() -> None:
        render.main(
            portrait=folder / "stage2.pt",
            **clip,
            audio=folder / "audio.wav",
            out=folder / "out.mp4",
            first=0.0,
            transfer=config["transfer"],
            device=config["device"],
            **{name: value for name, value in config["render"].items() if name != "label"},
        )

    def encoded(batches: Iterable[np.ndarray], frames: int) -> None:
        with VideoWriter(
            folder / "twin.mp4",
            size=size,
            fps=make_actor.FPS,
            frames=frames,
            sound=None,
            quality=config["render"]["quality"],
            comment="bench",
        ) as video:
            for pictures in batches:
                video.write(pictures)

    @torch.inference_mode()
    def one_by_one() -> np.ndarray:
        image, _ = twin.generator({name: value[:1] for name, value in motion.items()}, twin.code)
        return (image * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    renderer = Renderer(person)
    still = renderer.pictures(motion)
    rendered()  # kernels are chosen
    alone = count / batch * timed(lambda: renderer.pictures(motion))
    encoder = seconds_of(lambda: encoded(repeat(still, count // batch), count // batch * batch))
    return row(
        f"render, a frame of {size} px into its file",
        place,
        lambda: seconds_of(rendered) / count,
        lambda: seconds_of(lambda: encoded((one_by_one() for _ in range(count)), count)) / count,
        max(alone, encoder) / count,
    )


def demo_row(preset: Path, place: torch.device) -> Row:
    """The whole demo, against the same jobs one after the other; the limit is the time that its long steps fill."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        begin = time()
        words = ("--cores", str(os.cpu_count()), "--", DRIVEN)
        project = Project(folder, str(preset.resolve()))
        subprocess.run(project.command(words), check=True, **project.place())
        wall = time() - begin
        jobs = [(path, *job_of(path)) for path in folder.glob("benchmarks/*/*.tsv")]
    spans = sorted((end - seconds, end) for path, end, seconds, _ in jobs if path.parent.name in WORK)
    filled, until = 0.0, begin
    for start, end in spans:
        filled += max(0.0, end - max(start, until))
        until = max(until, end)
    total, peak = sum(seconds for _, _, seconds, _ in jobs), max(memory for *_, memory in jobs)
    return Row("whole demo", place.type, 1e3 * wall, 1e3 * total, total / wall, filled / wall, peak)


def job_of(benchmark: Path) -> tuple[float, float, float]:
    """When a job ended and how long it took, s, and its memory at most, MB; from Snakemake's benchmark file."""
    names, values = (line.split("\t") for line in benchmark.read_text().splitlines())
    found = dict(zip(names, values, strict=True))
    return benchmark.stat().st_mtime, float(found["s"]), float(found["max_rss"].replace("-", "0"))


def row(
    name: str, place: torch.device, ours: Callable[[], float], twin: Callable[[], float], limit: float | None = None
) -> Row:
    """Time both, in seconds, the twin as a program that leaves the allocator alone; `limit` is in seconds too."""
    restart_peak(place)
    seconds, peak = ours(), peak_mb(place)
    keep_freed_memory(GLIBC_BLOCK)
    slow = twin()
    keep_freed_memory()
    print(f"{name}: {1e3 * seconds:.2f} ms, twin {1e3 * slow:.2f} ms", flush=True)
    return Row(name, place.type, 1e3 * seconds, 1e3 * slow, slow / seconds, limit and limit / seconds, peak)


def per_step(train: Callable[[int], None]) -> float:
    """Seconds of a step."""
    train(STEPS[0])  # a GPU loads its kernels
    few, many = (seconds_of(lambda count=count: train(count)) for count in STEPS)
    return (many - few) / (STEPS[1] - STEPS[0])


def seconds_of(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


def timed(function: Callable[[], object]) -> float:
    function()  # kernels are chosen
    return median_seconds(function, SECONDS)


def operations(function: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products in a call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def generator_operations(
    generator: Generator, schedule: Schedule, motion: Motion, code: Tensor, images: Tensor
) -> float:
    """Those of the generator in a training step; Adam's own are no matrix products."""
    return operations(stage1_step(generator, replace(schedule, optimiser="adam"), motion, code, images))


def product_rate(place: torch.device) -> float:
    """Operations per second of large matrix products, in the precision that the networks use here."""
    precision = torch.bfloat16 if has_bfloat16(place) else torch.float32
    side = PRODUCT[place.type]
    a = torch.rand(side, side, device=place).to(precision)  # ones would be quicker on a GPU
    return 2 * side**3 / timed(lambda: a @ a)


def restart_peak(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        if GLIBC:
            GLIBC.malloc_trim(0)
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
