"""What a video says of how it was made: one JSON text in the file, the same for the same making.

    by            "MyPortrait 0.1.0"
    synthetic     true
    code          {"pipeline.render": digest of the module and of all it imports here}
    config        {"train_stage1": digest of that part of the configuration}
    config_files  ["config.yaml", ...], which say so when laid over each other
    inputs        {"work/portraits/Biden/video/stage2.pt": SHA-256}
    streams       {"picture": SHA-256, "sound": SHA-256}, which encoding.VideoWriter adds

It shows what has changed since, by chance or by an honest hand. It is no signature: who forges a video can forge this.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.code_digest import ROOT, code_digest
from pipeline.errors import InputError
from pipeline.files import sha256
from pipeline.media import read_record

RENDERED = "Synthetic: rendered by MyPortrait, no recording of a real event"  # for people: title and comment
TABLES = ("code", "config", "inputs", "streams")


@dataclass(frozen=True)
class Config:
    """What of the workflow's configuration shaped a video."""

    files: tuple[Path, ...] = ()  # laid over each other in this order
    parts: tuple[str, ...] = ()  # "train_stage1=91b5..." or "render.quality=8f3e...": key and digest


NO_CONFIG = Config()  # a step that runs by itself


def record(step: str, inputs: Iterable[Path], config: Config, shown: dict | None = None) -> dict:
    """What a video that `step` ("pipeline.render") is about to write says of itself; `shown` says so of the video that
    it shows."""
    about = shown or {table: {} for table in TABLES}
    return {
        "by": f"MyPortrait {version()}",
        "synthetic": True,
        "code": about["code"] | {step: code_digest(step)},
        "config": about["config"] | dict(part.split("=") for part in config.parts),
        "config_files": [path.as_posix() for path in config.files],
        "inputs": about["inputs"] | {path.as_posix(): sha256(path) for path in inputs},
    }


def read(video: Path) -> dict:
    """The record of a video, every table there.

    Raises:
        InputError: it has none, or a damaged one.
    """
    try:
        found = {table: {} for table in TABLES} | {"by": "", "config_files": []} | json.loads(read_record(video))
        whole = all(isinstance(found[table], dict) for table in TABLES)
        whole = whole and all(isinstance(name, str) for name in found["config_files"])
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"{video}: what it says of how it was made is damaged; get the original or make it again")
    return found


def version() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def laid_over(config: dict, preset: dict) -> dict:
    """The configuration with a preset's values, as Snakemake lays them over."""
    merged = config | preset
    both = [key for key in config if isinstance(config[key], dict) and key in preset]
    return merged | {key: laid_over(config[key], preset[key]) for key in both}


def part_digest(config: dict, key: str) -> str | None:
    """Hexadecimal digest of a part of the configuration, "train_stage1" or "render.quality"; None: there is none."""
    part = config
    for name in key.split("."):
        if not isinstance(part, dict) or name not in part:
            return None
        part = part[name]
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]
