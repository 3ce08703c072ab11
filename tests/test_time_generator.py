import csv

import torch

from pipeline import time_generator
from tests.test_train_stage1 import LAYOUT


def test_the_papers_generator_has_its_size_and_its_cost():
    size, parameters, work, milliseconds, rate = time_generator.timed(time_generator.PAPERS, torch.device("cpu"))
    assert (size, parameters) == ("256", "7.63M") and abs(float(work) - 34.77) < 0.1
    assert abs(float(milliseconds) * float(rate) / 1000 - 1) < 0.2


def test_the_table_names_the_device_and_holds_the_papers_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(time_generator, "PAPERS", LAYOUT)
    monkeypatch.setattr(time_generator, "SECONDS", 0.05)
    out = {"csv": tmp_path / "7.csv", "markdown": tmp_path / "7.md", "picture": tmp_path / "7.png"}
    time_generator.main(**out, layout=LAYOUT, device="cpu")
    rows = list(csv.DictReader((tmp_path / "7.csv").open()))
    assert [row["ms"] for row in rows[-2:]] == ["14.3", "28.1"] and all(row["device"] for row in rows)
    assert out["picture"].stat().st_size > 5000
    assert len((tmp_path / "7.md").read_text().splitlines()) == 2 + 2 + len(rows)
