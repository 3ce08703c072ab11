"""Lay footage under a speech, to and fro, as long as it lasts: where the head is meanwhile.

The footage is the person's own, or another's, whose motion becomes the person's. The result is a clip's stores, so a
speech renders, is measured and shown as any other driver.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import stores
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.motion import Transfer, learned_frames, load_learned, load_motion, neutral, take, transferred
from pipeline.progress import progress
from pipeline.sound import read_sound, write_sound

SOUND_RATE = 16000  # Hz
BATCH = 64  # frames copied at once


def main(
    *,
    sound: Path,
    frames: Path,
    face: Path,
    gaze: Path,
    target_face: Path,
    target_gaze: Path,
    out_frames: Path,
    out_face: Path,
    out_gaze: Path,
    out_audio: Path,
    held_out: float,
    transfer: Transfer,
) -> None:
    """Loop.

    Args:
        sound: any file with speech.
        frames, face, gaze: stores of the clip that is laid under the speech.
        target_face, target_gaze: of the person who will speak.
        out_frames, out_face, out_gaze: the same stores, as long as the speech.
        out_audio: the speech, wav, mono, 16 kHz, cut to whole frames.
        held_out: part of a clip, from its end, that is not used: training never saw it.
        transfer: how the clip's motion becomes the person's, "relative" or "direct".
    """
    stores.require_one_clip(frames, face, gaze)
    samples = read_sound(sound, SOUND_RATE)
    person, look = stores.read_face(face), stores.read_gaze(gaze)
    with stores.open_frames(frames) as clip:
        count = int(len(samples) * clip.fps / SOUND_RATE)
        if not count:
            raise InputError(f"{sound}: shorter than one frame; use a longer recording")
        order = to_and_fro(learned_frames(len(clip), held_out), count)
        about = {"size": clip.size, "fps": clip.fps, "box": clip.box, "source": clip.source, "sha256": clip.sha256}
        with stores.FramesWriter(out_frames, **about) as writer:
            starts = range(0, count, BATCH)
            for start in progress(starts, name=f"{sound.stem}: footage", unit="batches", total=len(starts)):
                writer.append(np.stack([clip.frames[index] for index in order[start : start + BATCH]]))
            length = round(count / clip.fps * SOUND_RATE)
            write_sound(out_audio, samples[:length], SOUND_RATE)
    own, target = (neutral(load_learned(*paths, held_out)[0]) for paths in ((face, gaze), (target_face, target_gaze)))
    motion = transferred(take(load_motion(face, gaze)[0], order), own, target, transfer)
    # [:]: what lies on disk gives its rows in rising order only
    there = {name: getattr(person, name)[:][order] for name in ("landmarks", "mesh", "valid")}
    moved = {name: motion[name].numpy() for name in ("pose", "expression", "position")}
    there["clip"] = writer.identity
    stores.write_face(out_face, replace(person, **there, **moved))
    stores.write_gaze(
        out_gaze, replace(look, gaze=motion["gaze"].numpy(), valid=look.valid[order], clip=writer.identity)
    )
    print(f"{sound.name}: {count} frames over {len(set(order.tolist()))} frames of {face.parent.name}")


def to_and_fro(there: int, wanted: int) -> np.ndarray:
    """(wanted,) indices 0, 1, ... there - 1, there - 2, ... 0, 1, ...: motion never jumps."""
    period = max(1, 2 * (there - 1))
    place = np.arange(wanted) % period
    return np.minimum(place, period - place) if there > 1 else np.zeros(wanted, int)


if __name__ == "__main__":
    run(main)
