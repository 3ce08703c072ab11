"""Get the published weights into one folder. Files that are there stay; broken downloads go on where they stopped.

A download grows in `<file>.<source>.part`, with the version it belongs to in a `.json` beside it, and takes the file's
name only when it is whole and its digest is the published one.
"""

import fcntl
import gzip
import json
import os
import re
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import requests

from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.manifest import Entry, Source, difference, how_to_get, read_manifest
from pipeline.progress import progress

CHUNK = 1 << 16  # bytes; as much is lost at most when a connection breaks
TIMEOUT = 60  # s without a byte
WAITS = (1, 5, 20, 60)  # s before each further attempt while nothing arrives
HEADERS = {"User-Agent": "MyPortrait", "Accept-Encoding": "identity"}  # identity: ranges count the file's own bytes
BUSY = (408, 429)  # statuses below 500 that are worth another attempt
BROKEN_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError)


class Refused(Exception):
    """A source that does not have the file; another attempt would be no use."""


class Interrupted(Exception):
    """A failure that may pass."""


class Version(NamedTuple):
    """Which version of a file a part belongs to, so that two are never mixed."""

    tag: str | None = None  # strong ETag, else the date of its last change
    length: int | None = None  # bytes


def main(*, folder: Path, mirror: str, only: list[str]) -> None:
    """Fetch weights.

    Args:
        folder: where the files go; those already there are never replaced.
        mirror: URL of a folder with the files under their own names, tried first; "": none.
        only: networks by their names in models/weights.yaml; none: every one there.
    """
    manifest = read_manifest()
    check(mirror, only, manifest, folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = only or [name for name, entry in manifest.items() if entry.fetched_by == "weights"]
    outcomes, failed = {}, []
    for name in names:
        entry = manifest[name]
        try:
            outcomes[name] = obtain(entry, folder, mirror)
        except (Refused, OSError) as error:
            if entry.sources or only:
                outcomes[name] = f"failed: {error}; {entry.by_hand(folder)}"
                failed.append(name)
            else:
                outcomes[name] = f"by hand: {entry.by_hand(folder)}"
    for name, outcome in outcomes.items():
        print(f"{name:<10}  {manifest[name].file:<38}  {outcome}", flush=True)
    if failed:
        raise InputError(f"not fetched: {', '.join(failed)}; the lines above say why, and how to get them by hand")


def check(mirror: str, only: list[str], manifest: dict[str, Entry], folder: Path) -> None:
    """Refuse what no attempt is worth."""
    if mirror and not re.match("https?://", mirror):
        raise InputError(f"{mirror}: a mirror is a folder on the web, http:// or https://")
    for name in only:
        if name not in manifest:
            raise InputError(f"there is no network '{name}' in models/weights.yaml, only {', '.join(manifest)}")
        if manifest[name].fetched_by != "weights":
            raise InputError(how_to_get(name, folder))


def obtain(entry: Entry, folder: Path, mirror: str) -> str:
    """See to it that a file is there, and say how it came and whether it is the published one."""
    place = folder / entry.file
    came = "there" if place.exists() else fetch_from_any(entry, place, mirror)
    if entry.digest == "unknown":
        return f"{came}, no published digest to compare with"
    return f"{came}, {difference(entry, place) or 'the published file'}"


def fetch_from_any(entry: Entry, place: Path, mirror: str) -> str:
    """Put a file in its place from the first source that has it; one process at a time: two would mix their parts."""
    mirrors = [Source(f"{mirror.rstrip('/')}/{entry.file}")] if mirror else []
    refusals = []
    with open(place.parent / ".fetching", "a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if place.exists():
            return "there"
        for source in [*mirrors, *entry.sources]:
            try:
                fetch(entry, source, place)
                return "fetched"
            except Refused as refusal:
                refusals.append(str(refusal))
    raise Refused("; ".join(refusals) or "no program can fetch it")


def fetch(entry: Entry, source: Source, place: Path) -> None:
    """Download from one source, prove the content, and only then give it its name."""
    part = place.with_name(f"{place.name}.{zlib.crc32(source.url.encode()):08x}.part")
    download(source.url, part)
    try:
        if source.member:
            with whole(place) as temporary:
                extract(part, source, temporary)
                prove(entry, temporary, source)
        else:
            prove(entry, part, source)
            os.replace(part, place)
    except Refused:
        discard(part)
        raise
    for record in place.parent.glob(f"{place.name}.*.json"):  # of this source, and of those that stopped halfway
        discard(record.with_suffix(".part"))


def prove(entry: Entry, path: Path, source: Source) -> None:
    if different := difference(entry, path):
        raise Refused(f"{source.url}: sent a file that is {different}")


def download(url: str, part: Path) -> None:
    """Fill `part` from a URL; the waits grow as long as attempts bring nothing."""
    waits, furthest = iter(WAITS), size(part)
    while True:
        try:
            receive(url, part)
            return
        except (Interrupted, requests.RequestException) as error:
            if size(part) > furthest:
                waits, furthest = iter(WAITS), size(part)
            wait = next(waits, None)
            if wait is None or isinstance(error, ValueError):  # requests' word for a URL it cannot use
                raise Refused(f"{url}: {reason(error)}") from None
            print(f"{url}: {reason(error)}; again in {wait} s", flush=True)
            time.sleep(wait)


def receive(url: str, part: Path) -> None:
    """One attempt at the rest of a file, or at all of it where the server does not continue or has another version."""
    version = read_version(part)
    if version.length and size(part) == version.length:
        return  # stopped between the last byte and the proof
    if not any(version):
        discard(part)  # nobody knows what it is a part of
    start = size(part)
    with requests.get(url, headers=HEADERS | rest(start, version), stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code in (206, 416) and not continues(answer, start, version):
            discard(part)
            raise Interrupted("the file has changed since the download began")
        check_status(url, answer)
        chunks = answer.iter_content(CHUNK)
        if answer.status_code == 200:
            first = next(chunks, b"")
            refuse_page(url, first)
            start, version = 0, version_of(answer)
            begin(part, version)
            chunks = chain([first], chunks)
        write(chunks, part, start, version.length)
    if version.length is not None and size(part) != version.length:
        raise Interrupted(f"{size(part)} of {version.length} bytes came")


def rest(start: int, version: Version) -> dict[str, str]:
    """Headers that ask for what is missing, if the file is still the same."""
    condition = {"If-Range": version.tag} if version.tag else {}
    return {"Range": f"bytes={start}-"} | condition if start else {}


def continues(answer: requests.Response, start: int, version: Version) -> bool:
    """Is a partial answer the rest of just this part?"""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if not found or int(found[1]) != start or version.length not in (None, int(found[2])):
        return False
    return version.tag is None or version_of(answer).tag in (None, version.tag)


def check_status(url: str, answer: requests.Response) -> None:
    status = f"HTTP {answer.status_code} {answer.reason}"
    if answer.status_code >= 500 or answer.status_code in BUSY:
        raise Interrupted(status)
    if answer.status_code not in (200, 206):
        raise Refused(f"{url}: {status}")


def refuse_page(url: str, start: bytes) -> None:
    """No weights file begins as a web page does: with a login, a quota or an error message."""
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        title = re.search(rb"<title[^>]*>\s*(.*?)\s*</title>", start, re.DOTALL | re.IGNORECASE)
        named = f" ({' '.join(title[1].decode(errors='replace').split())[:80]})" if title else ""
        raise Refused(f"{url}: sent a web page{named} instead of the file")


def write(chunks: Iterable[bytes], part: Path, start: int, length: int | None) -> None:
    bar = progress(name=part.name.split(".")[0], unit="bytes", total=length, first=start)
    with open(part, "ab") as file, bar:
        for chunk in chunks:
            file.write(chunk)
            bar.update(len(chunk))


def extract(archive: Path, source: Source, out: Path) -> None:
    """Write one file of a zip or tar to `out`; the names inside are compared, by their last part, never written to."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                name = next(name for name in content.namelist() if Path(name).name == source.member)
                copy(content.open(name), out)
        else:
            with tarfile.open(archive) as content:
                info = next(info for info in content if info.isreg() and Path(info.name).name == source.member)
                copy(content.extractfile(info), out)
    except StopIteration:
        raise Refused(f"{source.url}: sent an archive without {source.member}") from None
    except BROKEN_ARCHIVE as error:
        raise Refused(f"{source.url}: sent no archive that can be read ({reason(error)})") from None


def copy(file: IO[bytes], out: Path) -> None:
    with file, open(out, "wb") as target:
        shutil.copyfileobj(file, target)


def version_of(answer: requests.Response) -> Version:
    tag = answer.headers.get("ETag", "")
    length = answer.headers.get("Content-Length")
    strong = tag if tag.startswith('"') else None
    return Version(strong or answer.headers.get("Last-Modified"), int(length) if length else None)


def begin(part: Path, version: Version) -> None:
    """Start a part over; its version is on record before its first byte."""
    part.unlink(missing_ok=True)
    part.with_suffix(".json").write_text(json.dumps(version))


def read_version(part: Path) -> Version:
    try:
        return Version(*json.loads(part.with_suffix(".json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return Version()


def discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_suffix(".json").unlink(missing_ok=True)


def size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def reason(error: BaseException) -> str:
    """The innermost cause, in the system's own words; requests wraps it several times."""
    while error.__context__:
        error = error.__context__
    return (str(error) or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    run(main)
