"""What this machine has, what each preset needs and how long it takes here, what is wrong and how to mend it.

`python -m pipeline.doctor`, in the project's folder. Ends with status 0 where a demo can run, with 1 where something
hinders it; it changes nothing and needs no network.
"""

import importlib.metadata
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av
import psutil

from pipeline.cli import run
from pipeline.clip_names import RULE, SOUND_SUFFIXES, VIDEO_SUFFIXES, media, usable
from pipeline.code_digest import ROOT
from pipeline.encoding import program
from pipeline.errors import InputError
from pipeline.estimate import matrix_rate
from pipeline.manifest import NETWORKS, difference, read_manifest
from pipeline.media import probe, read_frames
from pipeline.needs import GB, PRESETS, Need, needs_of
from pipeline.provenance import version

WIDE, SHOWN = 110, 8  # letters of a line; clips
SHORT, SMALL, SLOW = 20, 256, 15  # s, px, frames/s: clips below these train poorly


@dataclass(frozen=True)
class Finding:
    """One line on the machine."""

    what: str
    found: str
    mend: str = ""  # what is wrong, and what to do; empty: nothing is
    hinders: bool = False  # no demo can run


def main() -> None:
    """Look at this machine and the project's folder."""
    gpu = find_gpu()
    rate, on_gpu = matrix_rate(os.cpu_count()), bool(shutil.which("nvidia-smi")) and not gpu.mend
    presets = {name: needs_of(name, rate, on_gpu) for name in PRESETS}
    demo = presets["demo"]
    if demo.hours == math.inf:
        full = "too little of its memory is free for the demo; free some, or set `device: cpu` in the config"
        gpu = replace(gpu, mend=full, hinders=True)
    findings = [find_python(), find_processor(), find_memory(demo), gpu, find_ffmpeg(), find_disk(demo)]
    findings += [*find_mesh(Path("weights")), find_slurm()]
    videos, sounds = media(Path("data/videos"), VIDEO_SUFFIXES), media(Path("data/audio"), SOUND_SUFFIXES)
    clips = [look(path) for path in videos]
    print(f"MyPortrait {version()} on this machine\n")
    for finding in findings:
        print(f"  {finding.what:<11}{finding.found}")
    print("\n".join(["", *preset_lines([*presets.values()]), "", *clip_lines(clips), results_line(Path("results"))]))
    findings += [*same_names(videos), *same_names(sounds)]
    wrong = [finding for finding in [*findings, *clips] if finding.mend]
    if wrong:
        print("\nTo mend (! no demo before that)")
    for finding in wrong:
        print(wrapped(f"{finding.what}: {finding.mend}", "  ! " if finding.hinders else "  - "))
    if any(finding.hinders for finding in findings):
        sys.exit(1)
    print(f"\n`make demo` can run here; about {duration(demo.hours)}.")


def wrapped(text: str, begin: str) -> str:
    """Lines of a screen's width; commands and paths stay whole."""
    return textwrap.fill(
        text, WIDE, initial_indent=begin, subsequent_indent=" " * 4, break_long_words=False, break_on_hyphens=False
    )


def duration(hours: float) -> str:
    """0.13 -> "8 minutes"."""
    if hours == math.inf:
        return "GPU memory too small"
    if hours < 2:
        minutes = max(1, round(hours * 60))
        return f"{minutes} minute{'s' * (minutes > 1)}"
    return f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"


# The machine


def find_python() -> Finding:
    """Python, and whether its packages are those of requirements.txt."""
    pinned = re.findall(r"^([\w.-]+)==(\S+)", "\n".join(map(Path.read_text, ROOT.glob("requirements*.txt"))), re.M)
    there = {name: installed(name) for name, _ in pinned}
    other = [f"{name} {there[name] or 'missing'} (wanted {wanted})" for name, wanted in pinned if there[name] != wanted]
    found = f"{platform.python_version()}, {len(pinned) - len(other)} of {len(pinned)} packages as pinned"
    supported = (3, 11) <= sys.version_info < (3, 14)
    if not supported:
        return Finding(
            "Python", found, "3.11 to 3.13 is needed; `make clean`, then `make PYTHON=python3.12 setup`", True
        )
    mend = f"{', '.join(other)}; `make clean`, then `make setup` installs them"
    missing = any(not there[name] for name, _ in pinned)
    return Finding("Python", found, mend if other else "", hinders=missing)


def installed(package: str) -> str | None:
    """The version of a package; build tags such as +cpu do not count."""
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def find_processor() -> Finding:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", info.read_text() if info.exists() else "", re.M)
    name = names[0] if names else platform.processor() or platform.machine()
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    busy = f"other programs keep it busy (load {load:.1f}); the times above may be too long"
    return Finding("processor", f"{name}, {cores} cores", busy if load > cores else "")


def find_memory(demo: Need) -> Finding:
    memory = psutil.virtual_memory()
    found = f"{memory.total / GB:.0f} GB, {memory.available / GB:.0f} GB of it free"
    short = memory.available / GB < demo.memory
    mend = f"the demo needs about {demo.memory:.1f} GB; close other programs"
    return Finding("memory", found, mend if short else "", hinders=short)


def find_gpu() -> Finding:
    if not shutil.which("nvidia-smi"):
        return Finding("GPU", "none, networks run on the processor")
    import torch  # takes seconds, needed here only

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Finding("GPU", f"{torch.cuda.get_device_name()}, {total / GB:.0f} GB, {free / GB:.0f} GB of it free")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.version.cuda is None:
        why = "this torch was installed without CUDA; `make clean`, then `make setup` on this machine"
    elif hidden is not None:
        why = f"CUDA_VISIBLE_DEVICES is {hidden!r}, which shows torch no GPU; unset it"
    else:
        why = f"torch finds no driver for CUDA {torch.version.cuda}; update the driver, `nvidia-smi` shows its version"
    return Finding("GPU", "there, but torch cannot use it; networks run on the processor", why)


def find_ffmpeg() -> Finding:
    try:
        path = program()
        done = subprocess.run([path, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False)
    except (RuntimeError, OSError) as error:
        return Finding("ffmpeg", "none", f"{error}; `make clean`, then `make setup` brings one", hinders=True)
    encodes = " libx264 " in done.stdout
    mend = f"{path} cannot write H.264; take it off PATH, and the one that `make setup` brought is used"
    return Finding(
        "ffmpeg", f"{path}, {'with' if encodes else 'without'} libx264", "" if encodes else mend, not encodes
    )


def find_disk(demo: Need) -> Finding:
    free = shutil.disk_usage(".").free / GB
    short = free < demo.disk
    mend = f"the demo needs about {demo.disk:.1f} GB in this folder; make room, or move the folder to a larger disk"
    return Finding("disk", f"{free:.1f} GB free in this folder", mend if short else "", hinders=short)


def find_mesh(folder: Path) -> Iterator[Finding]:
    """The two files that every configuration needs: the demo actors are tracked by them."""
    for entry in (read_manifest()[name] for name in NETWORKS["mediapipe"]):
        path = folder / entry.file
        if not path.exists():
            yield Finding("network", f"{path}: not yet there, the first run fetches it once")
        elif different := difference(entry, path):
            yield Finding(
                "network", f"{path}: damaged", f"{path}: {different}; delete it, the next run fetches it", True
            )
        else:
            yield Finding("network", f"{path}")


def find_slurm() -> Finding:
    there = shutil.which("sbatch")
    return Finding("Slurm", "there: docs/cluster.md" if there else "none, not needed")


# The presets


def preset_lines(found: list[Need]) -> list[str]:
    """A table, and where what is lacking comes from."""
    lines = ["For one person: a minute to learn from, a minute of somebody else to follow; rough figures"]
    lines.append(f"  {'preset':<9}{'picture':<13}{'time here':<20}{'memory':<9}{'disk':<9}networks")
    for need in found:
        about = "" if need.hours == math.inf else "over " if need.other_trackers else "about "
        time = about + duration(need.hours)
        lacking = f"{len(need.lacking)} missing" if need.lacking else "there, or fetched by the first run"
        size, memory, disk = f"{need.size} x {need.size}", f"{need.memory:.1f} GB", f"{need.disk:.1f} GB"
        lines.append(f"  {need.preset:<9}{size:<13}{time:<20}{memory:<9}{disk:<9}{lacking}")
    entries = [read_manifest()[name] for name in dict.fromkeys(name for need in found for name in need.lacking)]
    fetched = [entry.file for entry in entries if entry.sources]
    if fetched:
        lines.append(wrapped(f"`snakemake weights` fetches {', '.join(fetched)}", "  "))
    return lines + [wrapped(entry.by_hand(Path("weights")), "  ") for entry in entries if not entry.sources]


# The user's clips


def look(path: Path) -> Finding:
    """A clip's length, size, rate and sound, by its header and its first frame."""
    if not usable(path.stem):
        return Finding(repr(path.name), "its name cannot be used", RULE)
    try:
        about, pictures = probe(path), read_frames(path)
        height, width = next(pictures).image.shape[:2]
        pictures.close()
    except InputError as error:
        return Finding(path.name, "cannot be read", str(error).removeprefix(f"{path}: "))
    with av.open(f"file:{path}") as container:
        seconds = (container.duration or 0) / av.time_base
    rate = float(about.rates[0]) if about.rates else 0.0
    sound = "sound" if about.sound else "no sound: it cannot speak, nor learn to"
    poor = [f"{seconds:.0f} s is short, a minute trains better"] * (0 < round(seconds) < SHORT)
    poor += [f"{width}x{height} px is small"] * (min(width, height) < SMALL)
    poor += [f"{rate:.0f} frames/s is slow, mouths need 25"] * (0 < rate < SLOW)
    return Finding(path.name, f"{seconds:.0f} s, {width}x{height} px, {rate:.4g} frames/s, {sound}", "; ".join(poor))


def same_names(paths: list[Path]) -> Iterator[Finding]:
    """Files that differ in their endings only: the workflow does not begin before one of them is gone."""
    first: dict[str, Path] = {}
    for path in (path for path in paths if usable(path.stem)):
        if path.stem in first:
            yield Finding(str(path), "", f"{first[path.stem]} has the same name; keep one of the two", hinders=True)
        first.setdefault(path.stem, path)


def clip_lines(clips: list[Finding]) -> list[str]:
    """The clips, at most `SHOWN` of them: those with trouble are named again below."""
    if not clips:
        return ["No clip in data/videos yet; docs/footage.md says how to record one"]
    more = [f"  and {len(clips) - SHOWN} more"] if len(clips) > SHOWN else []
    width = max(len(clip.what) for clip in clips[:SHOWN])
    return ["Clips in data/videos", *(f"  {clip.what:<{width}}  {clip.found}" for clip in clips[:SHOWN]), *more]


def results_line(folder: Path) -> str:
    there = [path.name for path in sorted(folder.glob("*.mp4")) if ".side_by_side" not in path.name]
    return f"Results: {len(there)} videos in {folder}/" if there else "No result yet"


if __name__ == "__main__":
    run(main)
