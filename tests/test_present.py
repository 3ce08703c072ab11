from pipeline.present import table


def test_every_figure_has_a_line_and_a_missing_one_its_reason():
    report = {"l1": 0.01234567, "csim": None, "frames": 50, "missing": {"csim": "needs weights"}, "measured_with": {}}
    lines = table(report).splitlines()
    assert len(lines) == 3
    assert "0.01235" in lines[0] and "needs weights" in lines[1] and "50" in lines[2]
