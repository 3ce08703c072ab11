import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import run


def test_bad_input_ends_in_one_line_and_status_1(tmp_path):
    command = [sys.executable, "-m", "pipeline.encode_audio", "--audio", str(tmp_path / "no.wav"), "--fps", "25"]
    command += ["--extractor", "log_mel", "--networks", str(tmp_path), "--out", str(tmp_path / "audio.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ") and "no.wav: no such file" in done.stderr
    assert list(tmp_path.iterdir()) == []


STEP = """
import time
from pathlib import Path
from pipeline.cli import run
from pipeline.files import whole

def main(*, out: Path) -> None:
    with whole(out) as temporary:
        temporary.write_text("half")
        print("begun", flush=True)
        time.sleep(60)

run(main)
"""


def test_a_step_that_is_told_to_stop_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", STEP, "--out", str(tmp_path / "a.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as step:
        assert step.stdout.readline() == "begun\n"
        step.terminate()
        said = step.communicate(timeout=30)[1]
    assert step.returncode == 1 and said == "stopped\n"
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_one_line_too(monkeypatch):
    def main(*, path: str) -> None:
        Path(path).read_bytes()

    monkeypatch.setattr(sys, "argv", ["step", "--path", "/nowhere/a\nb"])
    with pytest.raises(SystemExit, match=r"^error: .*No such file.*$"):
        run(main)
