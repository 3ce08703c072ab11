from pathlib import Path

import av
import numpy as np
import pytest
import torch

from models.face_parameters import FaceParameters, fit_neutral, mouth_opening, sixty_eight
from pipeline.face_tracker import FaceTracker
from pipeline.make_actor import ACTORS, main, make_puppet, script
from pipeline.media import probe
from pipeline.puppet import Act
from pipeline.sound import read_sound
from tests.clips import images_of

SIZE = 128


def agreement(truth: np.ndarray, found: torch.Tensor) -> float:
    return float(np.corrcoef(truth, found.numpy())[0, 1])


@pytest.mark.parametrize("actor", ACTORS)
def test_the_tracker_finds_the_scripted_motion(actor, face_mesh_weights):
    puppet = make_puppet(actor, face_mesh_weights[0].parent, SIZE)
    act, _ = script(actor, 20, 0)
    act = Act(*[numbers[::12] for numbers in act])
    frames = np.stack([puppet.render(Act(*numbers)) for numbers in zip(*act, strict=True)])
    # Every 12th frame: a head jumps between them, so each is tracked on its own
    tracker = FaceTracker(*face_mesh_weights, torch.device("cpu"))
    tracks = [tracker.track(lambda frame=frame: [frame[None]]) for frame in frames]
    assert all(track.valid.all() for track in tracks)
    mesh = torch.from_numpy(np.concatenate([track.mesh[:] for track in tracks]))
    pose = FaceParameters(fit_neutral(mesh))(mesh, SIZE)["pose"]
    assert agreement(act.yaw, pose[:, 1]) > 0.9
    assert agreement(act.roll, pose[:, 2]) > 0.9
    assert agreement(act.open, mouth_opening(sixty_eight(mesh))) > 0.9


def test_the_script_covers_its_ranges_and_repeats_with_the_seed():
    act, sound = script("Astronaut", 30, 5)
    again, same_sound = script("Astronaut", 30, 5)
    assert all(np.array_equal(a, b) for a, b in zip(act, again, strict=True)) and np.array_equal(sound, same_sound)
    assert {len(numbers) for numbers in act} == {750}
    for name, reach in {"yaw": 15, "roll": 8, "open": 1, "gx": 1, "blink": 1}.items():
        assert 0.6 * reach < np.abs(getattr(act, name)).max() <= reach + 1e-9
    assert np.abs(act.pitch).max() < 10


def test_the_actors_never_move_alike():
    one, two = (script(actor, 20, 1)[0] for actor in ACTORS)
    assert all(abs(np.corrcoef(a, b)[0, 1]) < 0.8 for a, b in zip(one, two, strict=True))


def test_the_clip_is_marked_and_has_sound_of_its_length(tmp_path: Path, face_mesh_weights):
    out = tmp_path / "new" / "Astronaut.mp4"
    main(actor="Astronaut", networks=face_mesh_weights[0].parent, out=out, seconds=1.2, size=SIZE, seed=0)
    assert [path.name for path in out.parent.iterdir()] == ["Astronaut.mp4"]
    frames = images_of(out)
    assert frames.shape == (30, SIZE, SIZE, 3) and probe(out).rates[0] == 25
    sound = read_sound(out, 16000)
    assert abs(len(sound) - 1.2 * 16000) <= 16000 / 25 and np.abs(sound).max() > 0.3
    with av.open(str(out)) as container:
        assert container.metadata["comment"].startswith("Synthetic")
    puppet = make_puppet("Astronaut", face_mesh_weights[0].parent, SIZE)
    act = Act(*[numbers[20] for numbers in script("Astronaut", 1.2, 0)[0]])
    assert np.abs(frames[20].astype(int) - puppet.render(act)).mean() < 5
