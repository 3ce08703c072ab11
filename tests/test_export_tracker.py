"""The tracker as ONNX files."""

import numpy as np
import skimage
import torch

from models.face_parameters import REFERENCE
from models.live_face import FRAME, NEUTRAL_FRAMES, FaceFinder, FaceReader, NeutralFace
from pipeline.onnx_files import open_onnx, run_onnx


def test_each_file_says_what_torch_says_of_a_real_face(tracker_files, face_mesh_weights):
    picture = skimage.data.astronaut()[:FRAME, :FRAME]
    frame = torch.from_numpy(np.concatenate([picture, np.full_like(picture[..., :1], 255)], 2))
    reference = torch.from_numpy(np.load(REFERENCE)).float()
    mesh, detector = face_mesh_weights
    box, _ = FaceFinder(detector)(frame)
    read = FaceReader(mesh)(frame, box, reference)
    many = read.landmarks + torch.randn(NEUTRAL_FRAMES, 478, 3, generator=torch.Generator().manual_seed(0))
    asked = {
        "find_face": (FaceFinder(detector), {"frame": frame}),
        "read_face": (FaceReader(mesh), {"frame": frame, "box": box, "neutral": reference}),
        "fit_neutral": (NeutralFace(), {"landmarks": many}),
    }
    for name, (network, inputs) in asked.items():
        found, true = run_onnx(open_onnx(tracker_files[name]), inputs), network(*inputs.values())
        for (output, value), wanted in zip(found.items(), true, strict=True):
            assert np.allclose(value, wanted, rtol=1e-3, atol=1e-3), (name, output)


def test_each_file_says_where_it_comes_from(tracker_files):
    for path in tracker_files.values():
        told = open_onnx(path).get_modelmeta().custom_metadata_map
        assert "Apache-2.0" in told["licence"] and "uint8" in told["frame"] and "inputs" in told["provenance"]
