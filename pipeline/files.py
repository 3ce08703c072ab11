"""Files appear whole or not at all, and what cannot be read or written is said in one line."""

import glob
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time

from pipeline.errors import InputError

STALE = 3600  # s
SAMPLE = 2**20  # bytes


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; it becomes `path` when the block ends well, else it goes.

    The name is never twice the same, so that runs side by side, on any machine, do not write to one file. What killed
    runs left, untouched for `STALE`, goes.

    Raises:
        InputError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    with temporary_of(path) as temporary, writing(path):
        yield temporary
        os.replace(temporary, path)


@contextmanager
def temporary_of(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` that nobody else has, in a folder that is there; what has it then goes.

    Raises:
        InputError: the folder cannot be made or read.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_stale(path: Path) -> None:
    """Remove the temporary files of `path` that nobody writes to any more."""
    for old in path.parent.glob(f".{glob.escape(path.stem)}.????????{glob.escape(path.suffix)}"):
        with suppress(OSError):
            if time() - old.stat().st_mtime > STALE:
                old.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while `path` is written into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}); make room there or write elsewhere") from None
    except RuntimeError as error:
        if "inline_container" not in str(error):  # how torch.save says that the file did not grow
            raise
        raise InputError(f"{path}: cannot be written, as the disk is full; make room there and run again") from None


def require_file(path: Path) -> None:
    """Raise an InputError unless `path` is a file with content that may be read."""
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: is a folder, not a file; give the file itself")
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
            raise InputError(f"{path}: is not a file but a device or a pipe; give a file")
        if status.st_size == 0:
            raise InputError(f"{path}: is empty; copy the file again")
        path.open("rb").close()
    except FileNotFoundError:
        link = f"is a link to {os.readlink(path)}, which is not there; link it anew" if path.is_symlink() else ""
        raise InputError(f"{path}: {link or 'no such file; check the name'}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); check the path and its permissions") from None


def reason(error: OSError) -> str:
    """What the system says, in a few words: HDF5 adds a paragraph to it."""
    return os.strerror(error.errno) if error.errno else str(error)


def sampled_digest(path: Path) -> str:
    """What tells a recording from another one without reading gigabytes: of its size, its first and its last MiB."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(SAMPLE)
        file.seek(max(0, size - SAMPLE))
        return hashlib.sha256(str(size).encode() + head + file.read()).hexdigest()


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
