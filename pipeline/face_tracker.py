"""Follow one face through a clip: MediaPipe's detector and mesh, batched, twice over the frames.

1. The detector finds faces, the mesh runs on each, and its landmarks give better boxes.
2. One person is followed through these, their boxes are smoothed over time, and the mesh runs again in the smooth ones.

No frame's crop depends on the frame before, so nothing drifts or oscillates, and a lost face costs only its frames.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from models.face_mesh import FaceDetector, FaceMesh, box_of, crop_faces, to_image
from pipeline.stores import Rows, scratch

BOX_SIGMA = 2.0  # frames, of the Gaussian over the boxes: steady crops make steady landmarks, late ones do not
SAME_PERSON = 0.75  # of a box's side: how far a face moves at most between two detections


class Track(NamedTuple):
    mesh: Rows  # (N, 478, 3) float32 px, on disk; bridged from the frames around where not valid
    valid: np.ndarray  # (N,) bool: a face was found


class FaceTracker:
    """MediaPipe's face networks on frames.

    Args:
        mesh_path, detector_path: the two .tflite files, see `pipeline.fetch_face_mesh`.

    Raises:
        WeightsError: a file is missing, damaged, or another network.
    """

    def __init__(self, mesh_path: Path, detector_path: Path, device: torch.device):
        self.device = device
        self.mesh = FaceMesh(mesh_path).to(self.device)
        self.detector = FaceDetector(detector_path).to(self.device)

    @torch.inference_mode()
    def detect(self, frames: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Boxes (k, 4) and scores (k,) of the faces in each of the frames (n, H, W, 3) uint8, best first."""
        faces = self.detector.find(self._images(frames))
        return [found.boxes.double().numpy() for found in faces], [found.scores.numpy() for found in faces]

    @torch.inference_mode()
    def landmarks(self, frames: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks (n, 478, 3) in px of the frames (n, H, W, 3) uint8, and whether there is a face in the box (n,)."""
        boxes = torch.as_tensor(boxes, dtype=torch.float32, device=self.device)
        mesh = self.mesh(crop_faces(self._images(frames), boxes))
        return to_image(mesh.landmarks, boxes).cpu().numpy(), (mesh.presence >= 0).cpu().numpy()

    def track(self, batches: Callable[[], Iterable[np.ndarray]]) -> Track:
        """Follow the most prominent face.

        Args:
            batches: yields all frames from the first at each of two calls, as (n, H, W, 3) uint8 with any n. Only
                one batch is held at a time.
        """
        seen = [boxes for frames in batches() for boxes in self._look(frames)]
        followed = follow(seen)
        found = np.isin(np.arange(len(seen)), list(followed))
        if not found.any():
            return Track(scratch(len(seen), 478, 3), found)
        boxes = np.zeros((len(seen), 4))
        boxes[found] = np.stack([followed[i] for i in np.flatnonzero(found)])
        smooth = gaussian_filter1d(_bridge_boxes(boxes, found), BOX_SIGMA, axis=0, mode="nearest")
        mesh, valid = self._measure(batches(), smooth)
        fill_gaps(mesh, valid)
        return Track(mesh, valid)

    @torch.inference_mode()
    def _look(self, frames: np.ndarray) -> list[np.ndarray]:
        """Boxes (k, 4) round the landmarks of every face that detector and mesh see in frames (n, H, W, 3) uint8."""
        images = self._images(frames)
        found = [faces.boxes for faces in self.detector.find(images)]
        counts = [len(boxes) for boxes in found]
        if not any(counts):
            return [boxes.numpy() for boxes in found]
        boxes = torch.cat(found).to(self.device)
        each = torch.arange(len(images)).repeat_interleave(torch.tensor(counts))
        faces = crop_faces(images if counts == [1] * len(images) else images[each], boxes)
        landmarks, presence = self.mesh.coarse(faces)
        finer, there = box_of(to_image(landmarks, boxes)).double().cpu(), presence.cpu() >= 0
        return [finer[there & (each == i)].numpy() for i in range(len(images))]

    def _measure(self, batches: Iterable[np.ndarray], boxes: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Landmarks (N, 478, 3) px of all frames in the given boxes (N, 4), and the frames (N,) with a face there."""
        mesh, found = scratch(len(boxes), 478, 3), np.zeros(len(boxes), bool)
        start = 0
        for frames in batches:
            here = slice(start, start + len(frames))
            mesh[here], found[here] = self.landmarks(frames, boxes[here])
            start = here.stop
        return mesh, found

    def _images(self, frames: np.ndarray) -> torch.Tensor:
        """(n, H, W, 3) uint8 -> (n, 3, H, W) in [0, 1] on the device."""
        images = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2)
        return images.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)


def follow(detections: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """One person through detections of boxes (k, 4): their box (4,) by the number of each detection they are in.

    A box continues the nearest person so far, within `SAME_PERSON`, or begins a new one. The person with the most
    detections, counted by size, is followed; where they are missing nobody else takes their place.
    """
    people: list[dict[int, np.ndarray]] = []
    for i, boxes in enumerate(detections):
        free = list(people)
        for box in boxes:
            apart = [
                np.hypot(*(box - last)[:2]) / last[2] for last in (next(reversed(person.values())) for person in free)
            ]
            if apart and min(apart) < SAME_PERSON:
                free.pop(int(np.argmin(apart)))[i] = box
            else:
                people.append({i: box})
    return max(people, key=lambda person: sum(box[2] for box in person.values()), default={})


def fill_gaps(values: Rows, valid: np.ndarray) -> None:
    """Replace values (N, ...) not valid (N,) by a line between their neighbours, held at the ends, in place.

    Nothing happens where no frame is valid.
    """
    known = np.flatnonzero(valid)
    for frame in np.flatnonzero(~valid) if len(known) else ():
        place = np.searchsorted(known, frame)
        before, after = known[max(place - 1, 0)], known[min(place, len(known) - 1)]
        inside = before < frame < after
        weight = (frame - before) / (after - before) if inside else float(before < frame)
        values[frame] = values[before] * (1 - weight) + values[after] * weight


def bridge(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """A copy of values (N, ...) whose gaps are filled, see fill_gaps."""
    bridged = values.copy()
    fill_gaps(bridged, valid)
    return bridged


def _bridge_boxes(boxes: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) with those not found (N,) bridged."""
    boxes = boxes.copy()
    boxes[found, 3] = np.unwrap(boxes[found, 3])  # a roll just past pi is near one just past -pi
    return bridge(boxes, found)
