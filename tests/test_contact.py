"""The contact video: which cell shows what, when, and for how long."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline import contact, stores
from pipeline.contact import CELL, cell
from pipeline.encoding import VideoWriter
from pipeline.errors import InputError
from pipeline.media import probe, read_frames

RATES = {"Fast": Fraction(50), "Odd": Fraction(30000, 1001), "Slow": Fraction(10)}
COUNTS = {"Fast": 20, "Odd": 24, "Slow": 10}  # 0.4 s, 0.8008 s, 1 s
TICKS = 25


def shades(name: str, base: int) -> np.ndarray:
    """(n, 32, 32, 3) grey frames that tell whose they are, and brighten by 3 a frame."""
    grey = base + 3 * np.arange(COUNTS[name])
    return np.broadcast_to(grey[:, None, None, None], (COUNTS[name], 32, 32, 3)).astype(np.uint8)


def grey_at(name: str, base: int, tick: int) -> int:
    """What `shades` show at tick / 25 s: exact, and the last one from the end on."""
    return base + 3 * min(int(tick * RATES[name] / 25), COUNTS[name] - 1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> tuple[list[Path], list[Path]]:
    """Frame stores of three clips and the six results; a result has its driver's rate and length."""
    folder = tmp_path_factory.mktemp("grid")
    frames, videos = [], []
    for row, name in enumerate(RATES):
        frames.append(folder / name / "frames.h5")
        about = {"size": 32, "fps": RATES[name], "box": (0, 0, 32), "source": "", "sha256": ""}
        with stores.FramesWriter(frames[-1], **about) as store:
            store.append(shades(name, 20 + row))
        for column, driver in enumerate(RATES):
            if driver != name:
                videos.append(folder / f"{name}_driven_by_{driver}.mp4")
                about = {"size": 32, "fps": RATES[driver], "frames": COUNTS[driver], "sound": None}
                with VideoWriter(videos[-1], **about, quality=1, comment="") as writer:
                    writer.write(shades(driver, 60 + 50 * row + 10 * column))
    return frames, videos


@pytest.fixture(scope="module")
def grid(inputs) -> Path:
    frames, videos = inputs
    out = frames[0].parent.parent / "grid.mp4"
    contact.main(frames=frames, videos=videos, out=out, quality=1)
    return out


@pytest.fixture(scope="module")
def pictures(grid) -> list[np.ndarray]:
    return [frame.image.astype(int) for frame in read_frames(grid)]


def grey(picture: np.ndarray, row: int, column: int) -> float:
    return cell(picture, row, column)[8:-8, 8:-8].mean()


def test_the_grid_lasts_as_long_as_the_longest_clip_at_25_frames_a_second_without_sound(grid, pictures):
    assert len(pictures) == TICKS
    assert probe(grid).rates[0] == 25 and not probe(grid).sound


def test_the_first_row_shows_the_drivers_and_the_diagonal_the_targets_own_clips(pictures):
    for tick, picture in enumerate(pictures):
        for column, name in enumerate(RATES):
            expected = grey_at(name, 20 + column, tick)
            assert abs(grey(picture, 0, column) - expected) < 1.5, (tick, name)
            assert abs(grey(picture, 1 + column, column) - expected) < 1.5, (tick, name)


def test_every_result_stands_in_its_targets_row_and_its_drivers_column_at_its_own_time(pictures):
    for tick, picture in enumerate(pictures):
        for row, target in enumerate(RATES):
            for column, driver in enumerate(RATES):
                if target != driver:
                    expected = grey_at(driver, 60 + 50 * row + 10 * column, tick)
                    assert abs(grey(picture, 1 + row, column) - expected) < 1.5, (tick, target, driver)


def test_the_names_stand_above_the_columns_and_left_of_the_rows():
    canvas, nameless = (contact.blank(names) for names in (["Anna", "Bernd"], [" ", " "]))
    written = (canvas != nameless).any(2)
    strips = [written[: contact.STRIP, CELL * column :][:, :CELL] for column in (1, 2)]
    plates = [written[contact.STRIP + CELL * row :, :CELL][:CELL] for row in (1, 2)]
    assert all(part.any() for part in strips + plates)
    assert written.sum() == sum(part.sum() for part in strips + plates)


@pytest.mark.parametrize("length", [1, 12, 40, 200])
def test_a_name_of_any_length_stays_on_its_plate(length):
    plate = np.full((contact.STRIP, CELL, 3), contact.PAPER, np.uint8)
    contact.write_in(plate, "W" * length)
    inked = (plate != contact.PAPER).any(2)
    assert inked.any() and not inked[:, [0, 1, -2, -1]].any() and not inked[[0, -1]].any()


def test_the_file_says_that_it_is_synthetic(grid):
    with av.open(str(grid)) as container:
        assert container.metadata["comment"].startswith("Synthetic")


def test_a_missing_result_is_refused_before_anything_is_written(inputs, tmp_path):
    frames, videos = inputs
    with pytest.raises(InputError, match="3 clips make 6 videos, not 5"):
        contact.main(frames=frames, videos=videos[1:], out=tmp_path / "grid.mp4", quality=20)
    assert not list(tmp_path.iterdir())


def test_a_broken_result_leaves_no_grid(inputs, tmp_path):
    frames, videos = inputs
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(videos[0].read_bytes()[:500])
    with pytest.raises(InputError, match=r"broken\.mp4"):
        contact.main(frames=frames, videos=[broken, *videos[1:]], out=tmp_path / "grid.mp4", quality=20)
    assert list(tmp_path.iterdir()) == [broken]
