"""Tables from figures: what is best, what is missing and why, and the paper's rows beside ours."""

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline import measure, tabulate
from tests.clips import pictures
from tests.clips import write_clip as write_video
from tests.stores_for_tests import write_clip

FRAMES = 16


def report(path: Path, missing: dict[str, str] | None = None, **figures: float) -> Path:
    missing = missing or {}
    values = dict.fromkeys(measure.KEYS, 0.5) | figures | dict.fromkeys(missing)
    about = {"tracker": "test", "units": "none", "transfer": "relative", "csim": "identity network test"}
    path.write_text(json.dumps(values | {"missing": missing, "measured_with": about}))
    return path


@pytest.fixture
def table(tmp_path):
    """Make a table of two rows of one result: (rows of the CSV, Markdown, picture)."""
    driver = write_clip(tmp_path / "driver", frames=FRAMES)["frames"]
    video = write_video(tmp_path / "video.mp4", pictures(FRAMES, 64, 64), rate=Fraction(25))

    def make(number: int, result: str, methods: list[str], reports: list[Path]):
        out = {name: tmp_path / f"table.{name}" for name in ("csv", "markdown", "picture")}
        out["picture"] = tmp_path / "table.png"
        rows, count = [f"{result}/{method}" for method in methods], len(methods)
        tabulate.main(table=number, rows=rows, metrics=reports, videos=[video] * count, drivers=[driver] * count, **out)
        return list(csv.DictReader(out["csv"].open())), out["markdown"].read_text(), out["picture"]

    return make


def test_the_best_of_each_figure_is_bold(tmp_path, table):
    one, other = report(tmp_path / "a.json", csim=0.6, aed=0.3), report(tmp_path / "b.json", csim=0.7, aed=0.4)
    rows, text, _ = table(2, "French_driven_by_Glasses", ["full", "offline"], [one, other])
    online, offline = (line for line in text.splitlines() if line.startswith("| French"))
    assert "ours, online | 0.6 |" in online and "**0.3**" in online
    assert "ours, offline | **0.7** |" in offline and "| 0.4 |" in offline
    assert [row["csim"] for row in rows] == ["0.6", "0.7"]


def test_a_missing_figure_is_empty_and_its_reason_is_told(tmp_path, table):
    row = report(tmp_path / "a.json", missing={"fid": "not asked for"})
    rows, text, _ = table(1, "French_self", ["ours"], [row])
    assert rows[0]["fid"] == "" and "- fid: none, not asked for" in text and "- csim: identity network test" in text


def test_the_papers_figures_stand_beside_those_of_the_same_clips_only(tmp_path, table):
    row = report(tmp_path / "a.json")
    rows, _, _ = table(2, "Biden_driven_by_May", ["offline"], [row])
    paper = [(row["result"], row["method"], row["csim"]) for row in rows if row["source"] == "paper"]
    assert ("Biden_driven_by_May", "ours, offline", "0.514") in paper and len(paper) == 4
    rows, _, _ = table(2, "French_driven_by_Glasses", ["offline"], [row])
    assert [row["source"] for row in rows] == ["measured"]


def test_tables_whose_clips_the_paper_does_not_name_show_all_its_rows(tmp_path, table):
    rows, _, _ = table(4, "French_driven_by_Glasses", ["full"], [report(tmp_path / "a.json")])
    assert [row["method"] for row in rows if row["source"] == "paper"][-1] == "ours, online"
    assert len(rows) == 1 + 5


def test_the_picture_shows_driver_and_rows_at_the_same_places(tmp_path, table):
    driver = write_clip(tmp_path / "clip", frames=FRAMES + 4)["frames"]
    (places, count), strip = tabulate.strip_of(
        write_video(tmp_path / "result.mp4", pictures(FRAMES, 64, 64), rate=Fraction(25))
    )
    assert count == FRAMES and strip.shape == (tabulate.CELL, tabulate.SHOWN * tabulate.CELL, 3)
    beside = tabulate.driver_strip(driver, places, count)
    with tabulate.stores.open_frames(driver) as store:  # a held-out end begins later than the clip
        first = tabulate.resized(store.frames[4 + int(places[0])], tabulate.CELL)
    assert np.array_equal(beside[:, : tabulate.CELL], first)
    _, _, picture = table(1, "French_self", ["ours"], [report(tmp_path / "a.json")])
    assert picture.stat().st_size > 5000
