import numpy as np
import pytest

from pipeline.pictures import label


def written(size: int, text: str, grey: int = 128) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A labelled picture, and the rows and columns that the label takes."""
    plain = np.full((size, size, 3), grey, np.uint8)
    marked = label(plain.copy(), text)
    changed = (marked != plain).any(2)
    return marked, np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_the_label_is_legible_on_any_ground_and_near_the_lower_edge(grey):
    marked, rows, columns = written(256, "synthetic", grey)
    assert rows.min() > 225 and len(rows) >= 8
    assert marked[rows].max() > 200 and np.percentile(marked[rows][:, columns], 20) < 90


@pytest.mark.parametrize(("size", "part"), [(128, 0.35), (256, 0.22), (512, 0.15)])
def test_the_label_has_legible_letters_in_a_small_picture_and_takes_little_of_a_large_one(size, part):
    marked, rows, columns = written(size, "synthetic")
    assert len(rows) >= 16 and columns.max() == size - 1 and marked.max() > 200
    assert len(columns) < part * size and len(rows) < part / 2 * size


def test_a_long_label_is_written_smaller_and_stays_in_the_picture():
    _, _, columns = written(64, "W" * 20)
    assert 50 < len(columns) <= 64
