"""Lay a person's own footage under a speech, to and fro, as long as it lasts: where the head is meanwhile.

The result is a clip's stores, so a speech renders, is measured and shown as any other driver.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import stores
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.media import read_sound, write_sound
from pipeline.training import learned_frames

SOUND_RATE = 16000  # Hz
BATCH = 64  # frames copied at once


def main(
    *,
    sound: Path,
    frames: Path,
    face: Path,
    gaze: Path,
    out_frames: Path,
    out_face: Path,
    out_gaze: Path,
    out_audio: Path,
    held_out: float,
) -> None:
    """Loop.

    Args:
        sound: any file with speech.
        frames, face, gaze: stores of the person.
        out_frames, out_face, out_gaze: the same stores, as long as the speech.
        out_audio: the speech, wav, mono, 16 kHz, cut to whole frames.
        held_out: part of the clip, from its end, that is not used: training never saw it.
    """
    samples = read_sound(sound, SOUND_RATE)
    person, look = stores.read_face(face), stores.read_gaze(gaze)
    with stores.open_frames(frames) as clip:
        count = int(len(samples) / SOUND_RATE * clip.fps)
        if not count:
            raise InputError(f"{sound}: shorter than one frame; use a longer recording")
        order = to_and_fro(learned_frames(len(clip), held_out), count)
        about = {"size": clip.size, "fps": clip.fps, "box": clip.box, "source": clip.source, "sha256": clip.sha256}
        with stores.FramesWriter(out_frames, **about) as writer:
            for start in range(0, count, BATCH):
                writer.append(np.stack([clip.frames[index] for index in order[start : start + BATCH]]))
            length = round(count / clip.fps * SOUND_RATE)
            write_sound(out_audio, samples[:length], SOUND_RATE)
    names = ("pose", "expression", "position", "landmarks", "mesh", "valid")
    stores.write_face(out_face, replace(person, **{name: getattr(person, name)[order] for name in names}))
    stores.write_gaze(out_gaze, replace(look, gaze=look.gaze[order], valid=look.valid[order]))
    print(f"{sound.name}: {count} frames over {len(set(order.tolist()))} frames of {person.tracker}")


def to_and_fro(there: int, wanted: int) -> np.ndarray:
    """(wanted,) indices 0, 1, ... there - 1, there - 2, ... 0, 1, ...: motion never jumps."""
    period = max(1, 2 * (there - 1))
    place = np.arange(wanted) % period
    return np.minimum(place, period - place) if there > 1 else np.zeros(wanted, int)


if __name__ == "__main__":
    run(main)
