"""Opens the networks that Stage II sees pictures with, fitted to one person."""

from pathlib import Path
from typing import Literal

import torch

from models.face_mesh import FaceMesh
from models.mesh_consistency import MeshConsistency
from models.perception import Perception
from pipeline import stores
from pipeline.errors import InputError
from pipeline.manifest import find
from pipeline.motion import take, to
from pipeline.trackers import FaceName
from pipeline.training import Performing

PerceptualName = Literal["mediapipe", "vgg19"]


def open_perception(
    consistency: FaceName, perceptual: PerceptualName, networks: Path, frames: Path, face: Path, data: Performing
) -> tuple[Perception, list[Path]]:
    """The networks of eqs. 4 and 5, and the files they came from.

    Args:
        consistency: the face tracker whose network is Phi.
        perceptual: "vgg19", or "mediapipe" for the features of a mediapipe Phi.
        networks: folder of the networks' files.
        frames, face: the person's stores.
        data: their performing frames.
    """
    if consistency == "deca" and perceptual == "mediapipe":
        raise InputError("components: DECA has no features for the perceptual loss; set components.perceptual: vgg19")
    store = stores.read_face(face)
    with stores.open_frames(frames) as pictures:
        size = pictures.size  # the landmarks' unit
    if consistency == "deca":
        from models.deca import load_deca  # brings torchvision, seconds to import
        from models.deca_consistency import DecaConsistency

        files = [find("deca", networks)]
        phi = DecaConsistency(load_deca(files[0]), torch.from_numpy(store.landmarks), size)
    else:
        if not store.has_mesh:
            raise InputError(
                f"{face}: {store.tracker} keeps no face mesh; delete it and run again with components.face"
            )
        files = [find("face_mesh", networks)]
        landmarks = torch.from_numpy(store.mesh[data.valid.cpu().numpy()])
        motion = to(take(data.motion, data.valid), torch.device("cpu"))
        phi = MeshConsistency(FaceMesh(files[0]), torch.from_numpy(store.neutral), landmarks, motion, size)
    if perceptual == "mediapipe":
        return Perception(phi, None), files
    from models.vgg import load_vgg19

    files.append(find("vgg19", networks))
    return Perception(phi, load_vgg19(files[-1]).to(memory_format=torch.channels_last)), files
