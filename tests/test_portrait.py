import pytest

from pipeline.errors import InputError
from tests.disk_for_tests import little_room
from tests.portrait_for_tests import save_untrained


def test_the_same_portrait_is_the_same_file(tmp_path):
    for name in ("one.pt", "another.pt"):
        save_untrained(tmp_path / name, 32)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


def test_a_portrait_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    with little_room(), pytest.raises(InputError, match=r"a\.pt: cannot be written.*make room"):
        save_untrained(tmp_path / "a.pt", 32, frames=20_000)
    assert list(tmp_path.iterdir()) == []
