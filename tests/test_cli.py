import subprocess
import sys

import pytest

from pipeline.errors import InputError
from pipeline.files import whole


def test_bad_input_ends_in_one_line_and_status_1(tmp_path):
    command = [sys.executable, "-m", "pipeline.encode_audio", "--audio", str(tmp_path / "no.wav"), "--fps", "25"]
    command += ["--extractor", "log_mel", "--networks", str(tmp_path), "--out", str(tmp_path / "audio.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ") and "no.wav: no such file" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(InputError), whole(path) as temporary:
        temporary.write_text("half")
        raise InputError("stopped")
    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with whole(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
