"""onnxruntime for browsers, as the archive that its npm package is: which one, and whether a file is it."""

import base64
import hashlib
from pathlib import Path

from pipeline.errors import InputError

PACKAGE = "onnxruntime-web@1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # SHA-512


def require_runtime(archive: Path, remedy: str) -> None:
    """
    Raises:
        InputError: the file is not the published archive.
    """
    with open(archive, "rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if base64.b64encode(digest).decode() != INTEGRITY:
        raise InputError(f"{archive}: not the archive of {PACKAGE} (SHA-512 differs); {remedy}")
