"""npm is played by a script; what it would bring is made here."""

import base64
import hashlib
from pathlib import Path

import pytest

from pipeline import browser_runtime, fetch_browser_runtime
from pipeline.errors import InputError


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "weights" / "onnxruntime-web.tgz"


def play_npm(folder: Path, monkeypatch, script: str) -> None:
    """The only npm on the path, and a pip that reaches nothing."""
    npm = folder / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_the_archive_is_what_npm_packs(tmp_path, place, monkeypatch):
    play_npm(tmp_path, monkeypatch, 'test "$2" = onnxruntime-web@1.30.0; printf true >here.tgz; echo here.tgz')
    digest = base64.b64encode(hashlib.sha512(b"true").digest()).decode()
    monkeypatch.setattr(browser_runtime, "INTEGRITY", digest)
    fetch_browser_runtime.main(out=place)
    assert place.read_bytes() == b"true"


def test_other_bytes_are_refused_and_not_left(tmp_path, place, monkeypatch):
    play_npm(tmp_path, monkeypatch, "printf other >here.tgz; echo here.tgz")
    with pytest.raises(InputError, match=r"here\.tgz: not the archive of onnxruntime-web@1\.30\.0 \(SHA-512 differs\)"):
        fetch_browser_runtime.main(out=place)
    assert not place.exists()


def test_without_a_network_one_line_says_what_to_place_where(tmp_path, place, monkeypatch):
    play_npm(tmp_path, monkeypatch, "echo 'npm error code ENOTFOUND' >&2; exit 1")
    with pytest.raises(InputError) as error:
        fetch_browser_runtime.main(out=place)
    line = str(error.value)
    assert "\n" not in line and "npm pack onnxruntime-web@1.30.0" in line and str(place) in line
