"""Checkpoints are read as plain tensors, strictly, and a bad file is named."""

import numpy as np
import pytest
import torch
from torch import nn

from models.checkpoint import load_strictly, part, read_checkpoint
from models.errors import WeightsError


class Intruder:
    """Runs code when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


@pytest.fixture
def network():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_scalars_beside_the_tensors_are_read(path, zipped):
    content = {"epoch": 3, "best": np.float64(0.5), "state_dict": {"a": torch.ones(2)}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    assert found["best"] == 0.5
    assert part(found, "state_dict", path)["a"].tolist() == [1, 1]


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_does_not_run(path, tmp_path, zipped):
    trace = tmp_path / "trace"
    torch.save({"a": Intruder(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"net\.pth: refused: it carries code"):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>"])
def test_what_is_no_checkpoint_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.pth: refused: truncated, or no PyTorch file"):
        read_checkpoint(path)


def test_a_truncated_file_is_refused(path):
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match=r"net\.pth: refused"):
        read_checkpoint(path)


def test_a_missing_file_says_where_to_get_it(path):
    with pytest.raises(WeightsError, match="snakemake weights"):
        read_checkpoint(path)


def test_another_networks_parts_are_named(path):
    with pytest.raises(WeightsError, match=r"has no 'E_flame' \(it has D_detail"):
        part({"D_detail": {}}, "E_flame", path)


def test_prefix_and_missing_counters_are_tolerated(network, path):
    state = {f"module.{k}": torch.full_like(v, 2) for k, v in network.state_dict().items() if "num_batches" not in k}
    loaded = load_strictly(network, state, path)
    assert (loaded[0].weight == 2).all()
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), "lacks 0.bias; has nothing too many"),
        (lambda state: state.update(head=torch.ones(1)), "lacks nothing; has head too many"),
        (lambda state: state.update({"0.bias": torch.ones(4)}), r"0.bias is \(4,\), expected \(3,\)"),
        (lambda state: state.update({"0.bias": torch.tensor([1, torch.nan, 1])}), "0.bias is not finite"),
    ],
)
def test_any_other_difference_is_named(network, path, change, message):
    state = network.state_dict()
    change(state)
    with pytest.raises(WeightsError, match=message):
        load_strictly(network, state, path)
