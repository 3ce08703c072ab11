"""Put a speech into a person's mouth: their footage's motion, lips and jaw as the sound says.

The result is a face store, so a speech drives a portrait as any video does. Brows, lids, head and gaze stay those of
the footage; landmarks and mesh too, as they belong to its pictures.
"""

from dataclasses import replace
from pathlib import Path

import torch

from models.audio import Lips, levelled
from models.checkpoint import load_strictly, read_checkpoint
from pipeline import stores
from pipeline.cli import run
from pipeline.motion import JAW


def main(*, lips: Path, audio: Path, face: Path, out: Path) -> None:
    """Speak.

    Args:
        lips: what the person's mouth does with a sound.
        audio: features of the speech.
        face: store of the footage, of as many frames.
        out: the same store with the mouth's motion changed.
    """
    stores.require_one_clip(face, audio)
    state = read_checkpoint(lips)
    network = load_strictly(Lips(state.get("columns", torch.empty(0)).tolist()), state, lips)
    sound, person = torch.from_numpy(stores.read_audio(audio).audio), stores.read_face(face)
    with torch.inference_mode():
        heard = network(levelled(sound)).mean(0).numpy()
    pose, expression = person.pose.copy(), person.expression.copy()
    pose[:, JAW], expression[:, network.columns.numpy()] = heard[:, :3], heard[:, 3:]
    stores.write_face(out, replace(person, pose=pose, expression=expression))


if __name__ == "__main__":
    run(main)
