"""The weights files there are, as models/weights.yaml lists them: which file a network is, and how to get it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.errors import InputError

MANIFEST = Path(__file__).parent.parent / "models" / "weights.yaml"
NETWORKS = {  # what each component of a configuration needs
    "mediapipe": ("face_mesh", "face_detector"),
    "deca": ("s3fd", "fan", "deca"),
    "gaze360": ("gaze360",),
    "log_mel": (),
    "deepspeech": ("deepspeech",),
    "vgg19": ("vgg19",),
    "lpips": ("alexnet",),
    "fid": ("inception",),
}
SHOWN = 8  # hexadecimal digits of a digest in a message


@dataclass(frozen=True)
class Source:
    """Where a program can download a file."""

    url: str
    member: str | None = None  # the file's name inside the archive that the URL gives; None: the URL gives the file


@dataclass(frozen=True)
class Entry:
    """One weights file; models/weights.yaml explains the fields."""

    name: str
    file: str
    what: str
    licence: str
    sources: tuple[Source, ...]  # in order of preference; none: a person has to get it
    page: str
    digest: str  # "sha256:..." or "sha1:..." in hexadecimal, or "unknown"
    needed_by: tuple[str, ...]
    fetched_by: str = "weights"  # rule

    def by_hand(self, folder: Path) -> str:
        """What a person does to put the file into the weights folder."""
        return f"get it from {self.page} and save it as {folder / self.file}"


def read_manifest() -> dict[str, Entry]:
    """Every weights file by the name of its network."""
    entries = {}
    for name, fields in yaml.safe_load(MANIFEST.read_text()).items():
        sources = tuple(Source(**source) for source in fields.pop("sources"))
        entries[name] = Entry(name, sources=sources, needed_by=tuple(fields.pop("needed_by")), **fields)
    return entries


def licences(components: Iterable[str]) -> dict[str, str]:
    """Licence of every file that these components use, by the file's name."""
    manifest = read_manifest()
    names = dict.fromkeys(name for component in components for name in NETWORKS[component])
    return {manifest[name].file: manifest[name].licence for name in names}


def find(name: str, folder: Path) -> Path:
    """The file of a network ("deca") in the weights folder.

    A file that is not the published one is taken, and named: people may bring one they saved again or trained further.

    Raises:
        InputError: it is not there; says how to get it.
    """
    entry = read_manifest()[name]
    path = folder / entry.file
    if not path.is_file():
        raise InputError(how_to_get(name, folder))
    if different := difference(entry, path):
        print(f"{path}: {different}; used as it is")
    return path


def how_to_get(name: str, folder: Path) -> str:
    """One line for a network whose file is not in the folder: what it is and where it comes from."""
    entry = read_manifest()[name]
    path = folder / entry.file
    if entry.fetched_by != "weights":
        way = f"`snakemake --cores 1 {path}` fetches it"
    elif entry.sources:
        way = f"`snakemake weights` fetches it; or {entry.by_hand(folder)}"
    else:
        way = f"no program can fetch it: {entry.by_hand(folder)}"
    return f"{path}: missing; it is {entry.what} (licence: {entry.licence}); {way}"


def difference(entry: Entry, path: Path) -> str:
    """How a file differs from the published one; empty where it does not, or where no digest is known."""
    if entry.digest == "unknown":
        return ""
    algorithm, published = entry.digest.split(":")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, algorithm).hexdigest()
    if digest == published:
        return ""
    return f"not the published file ({algorithm} begins {digest[:SHOWN]}, published {published[:SHOWN]})"
