import torch

from tests import bench

CPU = torch.device("cpu")


def test_a_row_says_how_many_times_as_fast_ours_is_as_its_twin():
    found = bench.row("step", CPU, lambda: 0.002, lambda: 0.005)
    assert (found.ours_ms, found.twin_ms, found.ratio, found.limit_ratio) == (2, 5, 2.5, None)
    assert "| step | cpu | 2.00 | 5.00 | 2.50 |  |" in bench.table([found], "a machine")


def test_the_peak_is_that_of_the_work_in_between():
    bench.restart_peak(CPU)
    before = bench.peak_mb(CPU)
    held = torch.ones(64, 2**20)  # 256 MB
    assert bench.peak_mb(CPU) - before > 200
    del held
    bench.restart_peak(CPU)
    assert bench.peak_mb(CPU) - before < 100


def test_large_products_reach_a_rate_worth_comparing_with(monkeypatch):
    monkeypatch.setattr(bench, "SECONDS", 0.05)
    assert 1e9 < bench.product_rate(CPU) < 1e14
