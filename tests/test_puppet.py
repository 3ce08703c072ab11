import numpy as np
import pytest
import torch

from pipeline.face_tracker import FaceTracker
from pipeline.make_actor import make_puppet
from pipeline.puppet import CHIN, Act, Puppet

SIZE = 128
NOSE = 4  # its tip
REST = Act(*[0.0] * len(Act._fields))


@pytest.fixture(scope="module")
def puppet(face_mesh_weights) -> Puppet:
    return make_puppet("Admiral", face_mesh_weights[0].parent, SIZE)


def around(puppet: Puppet, mark: int, reach: float) -> tuple[slice, slice]:
    """A square around a landmark, `reach` eye distances to each side."""
    x, y = puppet.marks[mark]
    half = reach * puppet.unit
    return slice(round(y - half), round(y + half)), slice(round(x - half), round(x + half))


def change(puppet: Puppet, act: Act) -> np.ndarray:
    """(S, S) grey levels between the face at rest and in the act."""
    return np.abs(puppet.render(act).astype(int) - puppet.render(REST)).mean(-1)


def test_at_rest_it_is_the_photograph(puppet):
    assert np.abs(puppet.render(REST).astype(int) - puppet.photo)[around(puppet, 6, 0.4)].mean() < 2


def test_an_opening_mouth_moves_mouth_and_chin_alone(puppet):
    changed = change(puppet, REST._replace(open=0.8))
    assert changed[around(puppet, 14, 0.15)].mean() > 20
    assert changed[around(puppet, CHIN, 0.15)].mean() > 8
    assert changed[: round(puppet.eyes[1])].max() <= 1


def test_a_wider_mouth_shows_more_of_its_inside(puppet):
    mouth = around(puppet, 14, 0.3)
    dark = [(puppet.render(REST._replace(open=open))[mouth].max(-1) < 70).sum() for open in (0.0, 0.4, 0.7, 1.0)]
    assert np.all(np.diff(dark) > 0)


def test_a_blink_hides_the_pupils(puppet):
    pupils = [tuple(puppet.marks[iris].round().astype(int)[::-1]) for iris in (468, 473)]
    changed = change(puppet, REST._replace(blink=1.0))
    assert all(changed[pupil] > 15 for pupil in pupils)
    assert changed[around(puppet, 14, 0.3)].max() <= 1


def test_the_background_stands_still(puppet):
    changed = change(puppet, REST._replace(yaw=15.0, pitch=8.0, roll=-8.0, tx=0.06, open=1.0))
    border = np.ones((SIZE, SIZE), bool)
    border[4:-4, 12:-12] = False
    assert changed[border].max() == 0
    assert changed.max() > 50


@pytest.mark.parametrize(
    ("act", "towards"),
    [({"yaw": 12.0}, (1, 0)), ({"pitch": 8.0}, (0, 1)), ({"roll": -8.0}, (1, 0)), ({"ty": 0.1}, (0, 1))],
)
def test_the_nose_follows_the_head(puppet, face_mesh_weights, act, towards):
    tracker = FaceTracker(*face_mesh_weights, torch.device("cpu"))
    poses = [puppet.render(pose) for pose in (REST, REST._replace(**act))]
    rest, moved = [tracker.track(lambda frame=frame: [frame[None]]).mesh[0, NOSE, :2] for frame in poses]
    assert (moved - rest) @ towards > 0.05 * puppet.unit
