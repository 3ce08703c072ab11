# What the rules share: the clips there are, command-line flags from the config, digests of the code behind a step.
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from pipeline.clip_names import NAME, RULE, SOUND_SUFFIXES, VIDEO_SUFFIXES, media, usable
from pipeline.code_digest import code_digest as code
from pipeline.errors import InputError
from pipeline.estimate import TRAINING_THREADS, announce_duration
from pipeline.files import require_file, sampled_digest
from pipeline.manifest import NETWORKS, how_to_get, read_manifest
from pipeline.provenance import part_digest

# Flags that several steps take
PARTS = config["components"]
DEVICE = {"device": config["device"]}
HELD_OUT = {"held_out": config["held_out"]}
LEARNED = HELD_OUT | {"blinks": config["blinks"]}
TRANSFER = {"transfer": config["transfer"]}
QUALITY = {"quality": config["render"]["quality"]}
LABEL = {"label": config["render"]["label"]}
RENDER = {name: value for name, value in config["render"].items() if name not in LABEL}
PAGE = {"seconds": config["make_page"]["seconds"], "blink": config["track_gaze"]["blink"]}
WHOLE, DIRECT = {"first": 0}, {"transfer": "direct"}
END = {"first": 1 - config["held_out"]}
OFFLINE = config["train_stage2"] | {
    "schedule": config["train_stage2"]["schedule"] | {"images": config["offline"]["images"]},
    "weights": config["train_stage2"]["weights"] | config["offline"]["weights"],
}
USED = sorted({*PARTS.values(), *(name for name in ("lpips", "fid") if config["measure"][name])})  # by any step
PERCEPTION = {"consistency": PARTS["face"], "perceptual": PARTS["perceptual"]}
MEASURES = HELD_OUT | {"size": config["model"]["size"], "batch": config["measure"]["batch"]}
MEASURES |= {"smoothing": config["render"]["smoothing"], "blink": config["track_gaze"]["blink"]}
MEASURES |= {"trackers": {"face": PARTS["face"], "gaze": PARTS["gaze"]}}
MEASURES |= {"likeness": {name: config["measure"][name] for name in ("lpips", "fid", "identity")}}

# Parts of the configuration that shape a result, which says their digests
SHAPING = ["held_out", "blinks", "transfer", "components.face", "components.gaze", "components.perceptual"]
SHAPING += ["crop", "track_face", "track_gaze", "model", "train_stage1", "train_stage2"]
SHAPING += ["render.smoothing", "render.quality"]

WEIGHTS, MANIFEST = Path("weights"), read_manifest()
HAS_GPU = int(bool(shutil.which("nvidia-smi")))  # small networks take a GPU's turn only where there is one

for stage, divided in ("train_stage1", 1), ("train_stage2", 2):  # Stage II's batch has two halves
    if config[stage]["schedule"]["batch"] % (divided * config["processes"]):
        sys.exit(
            f"error: {stage}.schedule.batch cannot be divided among {config['processes']} processes; make it a multiple of "
            f"{divided * config['processes']}"
        )

ACTORS = ["Admiral", "Astronaut"]  # the demo actors, made on demand


def find_media(folder, suffixes):
    """Name -> file, for every file of these kinds in the folder, and a line on each whose name cannot be used: it
    becomes part of other files' names and of commands, and must not be read as anything else."""
    files, left_out = {}, []
    for path in media(folder, suffixes):
        name = path.stem
        if not usable(name):
            left_out.append(f"{str(path)!r}: {RULE}")
            if any(name in word for word in sys.argv):
                sys.exit(f"error: {left_out[-1]}")
        elif name in files:
            sys.exit(f"error: {path}: {files[name]} has the same name; keep one of the two")
        else:
            files[name] = path
    return files, left_out


VIDEOS, VIDEOS_LEFT_OUT = find_media("data/videos", VIDEO_SUFFIXES)
SPEECHES, SPEECHES_LEFT_OUT = find_media("data/audio", SOUND_SUFFIXES)


def check_file(path):
    """Stop with one line when a file cannot be read."""
    try:
        require_file(path)
    except InputError as error:
        sys.exit(f"error: {error}")


def check_name(name):
    """Stop with one line when a result asks for a clip that is not there."""
    if name in VIDEOS:
        check_file(VIDEOS[name])
    elif name not in ACTORS:
        there = ", ".join(sorted(VIDEOS)) or "none yet"
        sys.exit(f"There is no clip '{name}'. Clips in data/videos: {there}. Demo actors: {', '.join(ACTORS)}.")


def content(file_of):
    """Params function: what tells the file of this input function from another that takes its place, however old; of
    what the workflow makes itself, nothing."""

    def digest(wildcards):
        path = Path(file_of(wildcards))
        return sampled_digest(path) if path.is_relative_to("data") else ""

    return digest


def video_of(wildcards):
    """Input function: a clip's video, the user's or a demo actor's."""
    check_name(wildcards.clip)
    return VIDEOS.get(wildcards.clip, f"work/actors/{wildcards.clip}.mp4")


def sound_of(wildcards):
    """Input function: a speech's file, a recording or a clip."""
    if wildcards.speech in SPEECHES:
        check_file(SPEECHES[wildcards.speech])
        return SPEECHES[wildcards.speech]
    if wildcards.speech not in VIDEOS and wildcards.speech not in ACTORS:
        there = ", ".join([*SPEECHES, *VIDEOS, *ACTORS])
        sys.exit(f"There is no speech '{wildcards.speech}' in data/audio, nor a clip of that name. There are: {there}.")
    return VIDEOS.get(wildcards.speech, f"work/actors/{wildcards.speech}.mp4")


def grid_clips(wildcards):
    """Input function: the frame stores of every clip in data/videos."""
    if len(VIDEOS) < 2:
        there = ", ".join(VIDEOS) or "none yet"
        sys.exit("\n".join([f"The grid needs two clips or more in data/videos; there: {there}.", *VIDEOS_LEFT_OUT]))
    for name in VIDEOS:
        check_name(name)
    return [f"work/clips/{name}/frames.h5" for name in VIDEOS]


def grid_results(wildcards):
    """Input function: the videos of all ordered pairs, target by target."""
    return [f"results/{target}_driven_by_{driver}.mp4" for target in VIDEOS for driver in VIDEOS if target != driver]


def layout(driving, **changes):
    """Flags of a portrait's layout; `driving` is "video" or "audio"."""
    return {"layout": config["model"] | {"driving": driving} | changes}


def recorded(folder):
    """The clips that lent their motion to the portrait in this folder; none before it is trained."""
    record = Path(folder) / "auxiliary.txt"
    return record.read_text().split() if record.exists() else []


def auxiliary_clips(wildcards, portrait="video"):
    """The clips that lend their motion to this target: those of the config, else those that this portrait, or the one
    that videos drive, was first trained with, else the other clips there are, else the demo actors. A demo actor borrows
    from the other one."""
    there = [*(VIDEOS if wildcards.target not in ACTORS else []), *ACTORS]
    folders = [f"work/portraits/{wildcards.target}/{kind}" for kind in (portrait, "video")]
    named = [name for name in config["auxiliary"]["clips"] if name != wildcards.target]
    for name in named:
        check_name(name)
    first, own = ([name for name in recorded(folder) if name in there] for folder in folders)
    clips = [name for name in VIDEOS if name in there and name != wildcards.target][: config["auxiliary"]["count"]]
    return named or first or own or clips or [name for name in ACTORS if name != wildcards.target]


def auxiliary_stores(store, portrait="video"):
    """Input function: one store of each auxiliary clip."""

    def paths(wildcards):
        return [f"work/clips/{clip}/{store}.h5" for clip in auxiliary_clips(wildcards, portrait)]

    return paths


def page_drivers(wildcards):
    """The clips whose motion a page can play: those of the config, else those that lent theirs to the target."""
    for name in config["make_page"]["drivers"]:
        check_name(name)
    return config["make_page"]["drivers"] or auxiliary_clips(wildcards)


def page_files(file):
    """Input function: one file of each clip that a page can play."""

    def paths(wildcards):
        return [f"work/clips/{clip}/{file}" for clip in page_drivers(wildcards)]

    return paths


def offline_stores(store):
    """Input function: one store of each auxiliary clip, then the driver's."""

    def paths(wildcards):
        portrait = f"offline/{wildcards.driver}"
        clips = dict.fromkeys([*auxiliary_clips(wildcards, portrait), wildcards.driver])
        return [f"work/clips/{clip}/{store}.h5" for clip in clips]

    return paths


def networks(*components):
    """Input function: the files of these components' networks. What any component of the configuration lacks stops
    the run here, before any work, in one list; the face mesh is made by its own rule."""

    def paths(wildcards):
        needed = sorted({name for component in USED for name in NETWORKS[component]} - {*NETWORKS["mediapipe"]})
        lacking = [how_to_get(name, WEIGHTS) for name in needed if not (WEIGHTS / MANIFEST[name].file).exists()]
        identity = config["measure"]["identity"]
        if identity and not Path(identity).exists():
            ours = Path(identity) == WEIGHTS / MANIFEST["arcface"].file
            lacking.append(
                how_to_get("arcface", WEIGHTS) if ours else f"{identity}: missing; measure.identity names it"
            )
        if lacking:
            sys.exit("\n".join(["This configuration needs networks that are not there:", *lacking]))
        return [WEIGHTS / MANIFEST[name].file for component in components for name in NETWORKS[component]]

    return paths


def likeness_networks(wildcards):
    """Input function: the files that the figures need beside the trackers'."""
    asked = [name for name in ("lpips", "fid") if config["measure"][name]]
    return [*networks(*asked)(wildcards), *filter(None, [config["measure"]["identity"]])]


def parts(*keys):
    """Flags of a step that writes a video: digests of the parts of the configuration that shape it."""
    return {"config": {"parts": [f"{key}={part_digest(config, key)}" for key in keys]}}


def config_files(wildcards, input):
    """Params function: the files of the configuration. Taking `input`, it is no reason to run again: others may say the
    same."""
    return shlex.join(["config.yaml", *map(os.path.relpath, workflow.overwrite_configfiles)])


def given(*names, **files):
    """Params function: `--name file` for these inputs of the rule, and for files that are none; clip names need no
    quotes."""

    def words(wildcards, input):
        named = {name: input[name] for name in names} | {name: path.format(**wildcards) for name, path in files.items()}
        return " ".join(f"--{name.replace('_', '-')} {path}" for name, path in named.items())

    return words


def flags(section, prefix=""):
    """{"schedule": {"batch": 8}} -> "--schedule.batch 8", quoted for the shell."""
    words = []
    for key, value in section.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            words.append(flags(value, f"{name}."))
        else:
            values = value if isinstance(value, list) else [value]
            words.append(shlex.join([f"--{name.replace('_', '-')}", *map(str, values)]))
    return " ".join(words)


wildcard_constraints:
    clip=NAME,
    target=NAME,
    driver=NAME,
    actor="|".join(ACTORS),
