"""Portraits as ONNX files."""

import json

import numpy as np
import onnx
import pytest
import torch

from pipeline import export_portrait
from pipeline.errors import InputError
from pipeline.motion import WIDTHS
from pipeline.onnx_files import open_onnx, run_onnx
from pipeline.portrait import load_portrait
from tests.portrait_for_tests import save_untrained
from tests.stores_for_tests import write_clip


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("portrait")
    clip = write_clip(folder / "Disc")
    save_untrained(folder / "stage2.pt", size=32)
    drivers = {"driver_face": [clip["face"]], "driver_gaze": [clip["gaze"]]}
    return {"portrait": folder / "stage2.pt", **drivers, "transfer": "relative"}


@pytest.fixture(scope="module")
def files(places, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("files")
    paths = {"full": folder / "Disc.onnx", "half": folder / "Disc.fp16.onnx"}
    for precision, path in paths.items():
        export_portrait.main(**places, precision=precision, out=path)
    return paths


def motion_of(frames: int) -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    motion = {name: 0.3 * torch.randn(frames, width, generator=noise) for name, width in WIDTHS["video"].items()}
    motion["position"][:, 2] = 0.4
    return motion


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("name", ["full", "half"])
def test_any_number_of_frames_renders_as_torch_does(files, places, name, frames):
    person, motion = load_portrait(places["portrait"], torch.device("cpu")), motion_of(frames)
    with torch.inference_mode():
        true, _ = person.generator(motion, person.code.expand(frames, -1))
    image = run_onnx(open_onnx(files[name]), motion)["image"]
    assert image.dtype == np.float32 and image.shape == (frames, 3, 32, 32)
    assert abs(image - true.numpy()).max() * 255 < 2


def test_only_the_decoder_is_in_half_precision(files):
    model = onnx.load(files["half"])
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    trunk = [kind for name, kind in kinds.items() if ".trunk." in name]
    first = [kind for name, kind in kinds.items() if ".mlp." in name]
    assert set(trunk) == {onnx.TensorProto.FLOAT16} and set(first) == {onnx.TensorProto.FLOAT}
    assert files["half"].stat().st_size < files["full"].stat().st_size


def test_the_file_says_what_it_takes_and_that_it_is_synthetic(files, places):
    session = open_onnx(files["full"])
    told = session.get_modelmeta().custom_metadata_map
    assert [entry.name for entry in session.get_inputs()] == ["pose", "expression", "gaze", "position"]
    assert told["synthetic"] == "true" and "rad" in json.loads(told["inputs"])["pose"]
    assert len(json.loads(told["neutral"])["expression"]) == 50 and json.loads(told["layout"])["size"] == 32
    assert list(json.loads(told["provenance"])["inputs"]) == [str(places["portrait"])]


def test_a_file_that_renders_otherwise_is_not_left(places, tmp_path, monkeypatch):
    true = export_portrait.pictures
    monkeypatch.setattr(export_portrait, "pictures", lambda *given: true(*given) + 3 / 255)
    with pytest.raises(InputError, match="from torch, 2 are allowed"):
        export_portrait.main(**places, precision="full", out=tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
