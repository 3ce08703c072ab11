import pytest
import torch

from pipeline import motion
from pipeline.errors import InputError
from tests.stores_for_tests import write_clip


def random_motion(frames: int, seed: int = 0) -> motion.Motion:
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(frames, width, generator=generator) for name, width in motion.WIDTHS["video"].items()}
    values["position"][:, 2] = 0.5 + 0.01 * values["position"][:, 2]
    return values


def test_relative_transfer_gives_the_neutral_driver_the_targets_neutral():
    driver, target = random_motion(9), motion.neutral(random_motion(5, seed=1))
    own = motion.neutral(driver)
    moved = motion.transferred(own, own, target, "relative")
    for name in motion.WIDTHS["video"]:
        torch.testing.assert_close(moved[name], target[name])


def test_a_mouth_at_rest_is_shut_however_much_its_owner_talks():
    talks, listens = random_motion(9), random_motion(9, seed=1)
    talks["pose"][:, motion.JAW] += 0.3
    moved = motion.transferred(talks, motion.neutral(talks), motion.neutral(listens), "relative")
    for name, part in (("expression", slice(None)), ("pose", motion.JAW)):
        assert torch.equal(moved[name][:, part], talks[name][:, part])
        assert (motion.neutral(talks)[name][:, part] == 0).all()


def test_relative_transfer_measures_shifts_in_face_sizes():
    own = motion.neutral(random_motion(5))
    target = {name: value.clone() for name, value in own.items()}
    target["position"][:, 2] = own["position"][:, 2] / 2
    driver = {name: value.clone() for name, value in own.items()}
    driver["position"] = driver["position"] + torch.tensor([[0.2, 0.0, 0.0]])
    moved = motion.transferred(driver, own, target, "relative")
    torch.testing.assert_close(moved["position"] - target["position"], torch.tensor([[0.1, 0.0, 0.0]]))


def test_direct_transfer_changes_nothing():
    driver = random_motion(4)
    moved = motion.transferred(driver, motion.neutral(driver), motion.neutral(random_motion(4, 1)), "direct")
    assert all(torch.equal(moved[name], driver[name]) for name in driver)


def test_smoothing_calms_the_motion_and_keeps_its_mean():
    shaky = random_motion(200)
    calm = motion.smoothed(shaky, 2.0)
    for name in motion.WIDTHS["video"]:
        assert calm[name].diff(dim=0).abs().mean() < 0.3 * shaky[name].diff(dim=0).abs().mean()
        torch.testing.assert_close(calm[name].mean(0), shaky[name].mean(0), atol=0.05, rtol=0)
    assert all(torch.equal(motion.smoothed(shaky, 0)[name], shaky[name]) for name in shaky)


def test_the_nearest_frame_of_a_shown_motion_is_that_frame():
    keys = random_motion(40)
    noisy = {name: value[7:19] + 0.01 for name, value in keys.items()}
    assert motion.nearest(noisy, keys).tolist() == list(range(7, 19))


def test_fifty_expression_values_do_not_swamp_the_pose():
    keys = random_motion(2)
    query = motion.take(keys, slice(0, 1))
    query["expression"] = keys["expression"][:1] * 0.4 + keys["expression"][1:] * 0.6  # a little nearer to the other
    assert motion.nearest(query, keys).tolist() == [0]


def test_stores_of_different_clips_are_refused(tmp_path):
    short, long = write_clip(tmp_path / "a", frames=5), write_clip(tmp_path / "b", frames=6)
    with pytest.raises(InputError, match=r"b/gaze\.h5: belongs to other frames than .*a/face\.h5"):
        motion.load_motion(short["face"], long["gaze"])
