"""A disk that refuses, for a moment."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

ROOM = 100_000  # bytes that a file may have


@contextmanager
def little_room() -> Iterator[None]:
    """No file can grow beyond `ROOM`, as on a disk that is full."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read and write everything; the test's folder is then another user's."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
