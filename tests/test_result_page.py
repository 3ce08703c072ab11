"""What the page about a result says of its figures."""

from pipeline import result_page
from pipeline.result_page import MEANINGS, SPEECH

SPOKEN = {"r": 0.25, "lag": None, "r_best": None, "r_shuffled": 0.0123456}


def report(**measured_with) -> dict:
    return {
        **dict.fromkeys(MEANINGS),
        "frames": 50,
        "missing": {"l1": "no truth", "psnr": "no truth", "fid": "not asked for"},
        "measured_with": {"driver_jitter": 0.00417} | measured_with,
    }


def test_a_figure_that_is_there_has_its_row_and_others_have_none():
    assert [(row.name, row.value) for row in result_page.rows(report())] == [("frames", "50")]
    jitter = result_page.rows(report() | {"jitter": 0.123456})[0]
    assert jitter.value == "0.1235" and "0.0042" in jitter.meaning.what


def test_a_speech_adds_its_rows_with_a_dash_for_what_could_not_be_computed():
    rows = result_page.rows(report(speech=SPOKEN))[1:]
    assert [row.name for row in rows] == [f"speech {name}" for name in SPEECH]
    assert [row.value for row in rows] == ["0.25", "-", "-", "0.01235"]


def test_reasons_name_their_figures_together():
    assert result_page.reasons(report()) == {"no truth": ["l1", "psnr"], "not asked for": ["fid"]}


def test_conditions_are_words():
    values = [["Anna", "Otto"], [], True, False, 0.123456, "relative", 3]
    assert [*map(result_page.words, values)] == ["Anna, Otto", "none", "yes", "no", "0.1235", "relative", "3"]
