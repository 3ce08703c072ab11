import numpy as np

from pipeline.sheets import EMPTY, GAP, PAPER, read, save, sheet, stacked


def grey(value: int, size: int = 16) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


def test_pictures_stand_in_rows_and_columns_in_their_order():
    laid = sheet([[grey(50), grey(100)], [grey(150), None]], 16, ["a", "b"], ["first", "second"], "title")
    right, below = laid[:, -GAP - 1], laid[-GAP - 1, :]
    assert (right[-GAP - 16 : -GAP] == EMPTY).all() and (right[-2 * GAP - 32 : -2 * GAP - 16] == 100).all()
    assert (below[-2 * GAP - 32 : -2 * GAP - 16] == 150).all()


def test_pictures_of_any_size_take_the_same_place():
    sheets = [sheet([[grey(80, size)]], 16, ["a"], ["b"]) for size in (8, 16, 64)]
    assert all(np.array_equal(sheets[0], other) for other in sheets)


def test_words_of_two_lines_have_room():
    one, two = (sheet([[grey(80)]], 16, [words], ["b"]) for words in ("a", "a\nb"))
    assert len(two) > len(one) and (two[: len(two) - 20] > 150).any()


def test_narrow_sheets_are_filled_up():
    both = stacked([grey(200, 10), grey(100, 20)])
    assert both.shape == (30, 20, 3) and (both[:10, 10:] == PAPER).all() and (both[10:] == 100).all()


def test_a_saved_sheet_reads_as_it_was(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    save(tmp_path / "sheet.png", picture)
    assert np.array_equal(read(tmp_path / "sheet.png"), picture)
