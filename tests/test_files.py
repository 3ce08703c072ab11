import os

import pytest
import torch

from pipeline.errors import InputError
from pipeline.files import require_file, sampled_digest, whole
from tests.disk_for_tests import as_nobody, little_room


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


def test_what_a_killed_run_left_goes_and_what_is_being_written_stays(tmp_path):
    old, new = tmp_path / ".a.01234567.txt", tmp_path / ".a.89abcdef.txt"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    with whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "a.txt"]


def test_a_recording_is_told_from_another_by_its_size_beginning_or_end(tmp_path):
    contents = [
        bytes(3 * 2**20),
        bytes(3 * 2**20 + 1),
        b"1" + bytes(3 * 2**20 - 1),
        bytes(3 * 2**20 - 1) + b"1",
        b"",
        b"1",
    ]
    digests = set()
    for number, content in enumerate(contents):
        (tmp_path / f"{number}").write_bytes(content)
        digests.add(sampled_digest(tmp_path / f"{number}"))
    assert len(digests) == len(contents)


def test_two_runs_at_once_do_not_write_to_one_file(tmp_path):
    path = tmp_path / "a.txt"
    with whole(path) as one, whole(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "save",
    [lambda path: path.write_bytes(bytes(200_000)), lambda path: torch.save({"a": torch.zeros(50_000)}, path)],
    ids=["bytes", "tensors"],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, save):
    said = pytest.raises(InputError, match=r"a\.pt: cannot be written.*make room")
    with little_room(), said, whole(tmp_path / "a.pt") as temporary:
        save(temporary)
    assert list(tmp_path.iterdir()) == []


def test_other_troubles_keep_their_name(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"), whole(tmp_path / "a.pt"):
        raise RuntimeError("a bug")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/a\.txt: cannot be written"), whole(tmp_path / "file" / "a.txt"):
        pass
    sealed = tmp_path / "sealed"
    sealed.mkdir(mode=0o500)
    said = pytest.raises(InputError, match=r"a\.txt: cannot be written \(Permission denied\)")
    with as_nobody(), said, whole(sealed / "a.txt") as temporary:
        temporary.write_text("")
    assert list(sealed.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nowhere, which is not there"),
        (lambda path: path.symlink_to(path), "cannot be read .Too many levels of symbolic links"),
        (os.mkfifo, "is not a file but a device or a pipe"),
    ],
)
def test_what_is_no_file_is_named(tmp_path, make, says):
    make(tmp_path / "x.mp4")
    with pytest.raises(InputError, match=rf"x\.mp4: {says}"):
        require_file(tmp_path / "x.mp4")


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "x.mp4").write_text("x")
    (tmp_path / "x.mp4").chmod(0)
    with as_nobody(), pytest.raises(InputError, match=r"x\.mp4: cannot be read \(Permission denied\)"):
        require_file(tmp_path / "x.mp4")
