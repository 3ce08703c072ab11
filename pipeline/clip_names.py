"""Names of clips: part of other files' names and of commands, so that they must not be read as anything else."""

import re
from pathlib import Path

VIDEO_SUFFIXES = {
    ".mp4",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".m2ts",
    ".3gp",
    ".wmv",
    ".flv",
    ".f4v",
    ".asf",
    ".mxf",
    ".ogv",
    ".vob",
}
SOUND_SUFFIXES = {".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus", ".wma", ".aif", ".aiff"}
NAME = r"(?!self(?![A-Za-z0-9_-]))(?:(?!_driven_by|_speaks|_offline|\.side_by_side|\.fp16)[A-Za-z0-9._-])+"
LONGEST = 60  # letters of a name: two of them, and more, make a file name
OVER_AND_OVER = r"(.+?)\1{19}"  # Snakemake takes such names for an endless recursion
RULE = (
    f"rename it; a name has at most {LONGEST} of A to Z, a to z, 0 to 9, '-', '_' and '.', nothing twenty times over, "
    "and none of '_driven_by', '_speaks', '_offline', '.side_by_side', '.fp16' in it; 'self' means the target's own end"
)


def media(folder: Path, suffixes: set[str]) -> list[Path]:
    """The files of these kinds in the folder, by name; hidden ones are nobody's intention."""
    paths = sorted(Path(folder).glob("*"))
    return [path for path in paths if path.suffix.lower() in suffixes and not path.name.startswith(".")]


def usable(name: str) -> bool:
    """Whether a clip may have this name."""
    return bool(re.fullmatch(NAME, name)) and len(name) <= LONGEST and not re.search(OVER_AND_OVER, name)
