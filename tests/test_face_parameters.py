"""The face's parameters, on a neutral face turned, moved and deformed by known amounts."""

import math

import numpy as np
import pytest
import torch

from models.face_parameters import (
    EXPRESSION_UNIT,
    EXPRESSIVE,
    JAW,
    JAW_LEVER,
    LOWER_LIDS,
    REFERENCE,
    UPPER_LIDS,
    FaceParameters,
    fit_neutral,
    mouth_opening,
    sixty_eight,
)

SIZE = 256
LOWER_FACE = (152, 148, 377, 199, 200, 175, 17, 14, 87, 317, 181, 405, 18)  # moves with the jaw


@pytest.fixture(scope="module")
def neutral() -> torch.Tensor:
    """The reference with its mouth shut: the lips' inner rims meet."""
    face = torch.from_numpy(np.load(REFERENCE)).double()
    for upper, lower in ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402)):
        face[[upper, lower], :2] = face[[upper, lower], :2].mean(0)
    return face


@pytest.fixture(scope="module")
def parameters(neutral) -> FaceParameters:
    return FaceParameters(neutral)


def seen(face, angles=(0, 0, 0), eyes=40.0, x=130.0, y=100.0) -> torch.Tensor:
    """(478, 3) -> (1, 478, 3) px, turned by an axis-angle in DECA's axes: x right, y up, z to the viewer."""
    right, up, viewer = angles
    cross = torch.tensor([[0, -viewer, up], [viewer, 0, -right], [-up, right, 0]], dtype=face.dtype)
    flip = torch.tensor([1, -1, -1], dtype=face.dtype)
    turned = face * flip @ torch.linalg.matrix_exp(cross).T * flip
    return (turned * eyes + torch.tensor([x, y, 0], dtype=face.dtype))[None]


def moved(face, points, dx=0.0, dy=0.0) -> torch.Tensor:
    face = face.clone()
    face[list(points), :2] += face.new_tensor([dx, dy])
    return face


def flat(groups) -> list[int]:
    return [point for group in groups for point in group]


@pytest.mark.parametrize(
    "angles", [(0.3, 0, 0), (-0.3, 0, 0), (0, 0.5, 0), (0, -0.5, 0), (0, 0, 0.4), (0, 0, -0.4), (0.2, -0.4, 0.3)]
)
def test_head_pose_recovers_a_known_turn(parameters, neutral, angles):
    found = parameters(seen(neutral, angles), SIZE)
    assert found["pose"][0].tolist() == pytest.approx([*angles, 0, 0, 0], abs=1e-6)
    assert found["expression"].abs().max() < 1e-6


def test_pose_has_the_signs_of_deca(parameters, neutral):
    nose_tip = 4
    start = seen(neutral)[0, nose_tip]
    assert seen(neutral, (0.3, 0, 0))[0, nose_tip, 1] > start[1], "x: nods down"
    assert seen(neutral, (0, 0.3, 0))[0, nose_tip, 0] > start[0], "y: turns to the right of the image"
    eyes = seen(neutral, (0, 0, 0.3))[0, [33, 263], 1]
    assert eyes[1] < eyes[0], "z: counter-clockwise, the eye on the right rises"


def test_neutral_face_from_the_front_is_all_zero(parameters, neutral):
    found = parameters(seen(neutral), SIZE)
    for name in ("pose", "expression", "gaze"):
        assert found[name].abs().max() < 1e-6, name


def test_position_follows_shift_and_size(parameters, neutral):
    found = parameters(seen(neutral, eyes=32.0, x=63.5, y=191.5), SIZE)["position"][0]
    assert found.tolist() == pytest.approx([-0.5, 0.5, 0.25])


def test_a_picture_of_half_the_size_shows_the_face_at_the_same_position(parameters, neutral):
    landmarks = seen(neutral)
    whole, half = parameters(landmarks, SIZE), parameters((landmarks + 0.5) / 2 - 0.5, SIZE // 2)  # edges are kept
    assert (half["position"] - whole["position"]).abs().max() < 1e-6


@pytest.mark.parametrize("angles", [(0, 0.5, 0), (0.3, 0, 0), (0.2, -0.4, 0.3)])
def test_position_stays_when_the_head_turns(parameters, neutral, angles):
    start, found = (parameters(seen(neutral, turn), SIZE)["position"] for turn in ((0, 0, 0), angles))
    assert (found - start).abs().max() < 1e-6


def test_jaw_drop_opens_the_jaw_and_nothing_else_of_the_head(parameters, neutral):
    start, found = (
        parameters(seen(face, (0.1, 0.3, 0)), SIZE) for face in (neutral, moved(neutral, LOWER_FACE, dy=0.2))
    )
    assert found["pose"][0, 3].item() == pytest.approx(0.2 / JAW_LEVER)
    assert (found["pose"] - start["pose"])[0, [0, 1, 2, 4, 5]].abs().max() < 1e-6
    assert (found["position"] - start["position"]).abs().max() < 1e-6
    assert found["openness"].item() == pytest.approx(start["openness"].item())


def test_jaw_to_the_right_of_the_image_is_positive_about_y(parameters, neutral):
    found = parameters(seen(moved(neutral, JAW, dx=0.1)), SIZE)["pose"][0]
    assert found[4].item() == pytest.approx(0.1 / JAW_LEVER)


def test_expression_is_measured_in_the_head_frame(parameters, neutral):
    face = moved(neutral, [61], dx=-EXPRESSION_UNIT, dy=2 * EXPRESSION_UNIT)
    for angles in ((0, 0, 0), (0.2, -0.5, 0.4)):
        points = parameters(seen(face, angles), SIZE)["expression"][0].view(25, 2)
        corner = EXPRESSIVE.index(61)
        assert points[corner].tolist() == pytest.approx([-1, 2])
        assert points[torch.arange(25) != corner].abs().max() < 1e-6


def test_gaze_has_the_signs_of_gaze360(parameters, neutral):
    left = parameters(seen(moved(neutral, [468, 473], dx=-0.04)), SIZE)["gaze"][0]
    assert left[0] > 0.2 and abs(left[1]) < 1e-6, "yaw: to the left of the image"
    face = moved(moved(neutral, [468, 473], dy=-0.04), flat(UPPER_LIDS), dy=-0.04)
    up = parameters(seen(face), SIZE)["gaze"][0]
    assert up[1] > 0.2 and abs(up[0]) < 1e-6, "pitch: up"


def test_gaze_turns_with_the_head(parameters, neutral):
    assert parameters(seen(neutral, (0, -0.3, 0)), SIZE)["gaze"][0, 0] > 0.05
    assert parameters(seen(neutral, (-0.3, 0, 0)), SIZE)["gaze"][0, 1] > 0.05


def test_gaze_stays_finite_where_no_eye_can_look(parameters, neutral):
    landmarks = seen(moved(neutral, [468, 473], dx=5, dy=-5)).requires_grad_()
    gaze = parameters(landmarks, SIZE)["gaze"]
    gaze.sum().backward()
    assert gaze.abs().max() < math.pi and landmarks.grad.isfinite().all()


def test_openness_falls_to_nothing_in_a_blink(parameters, neutral):
    shut = neutral.clone()
    shut[flat(UPPER_LIDS)] = shut[flat(LOWER_LIDS)]
    assert parameters(seen(neutral, (0, 0.4, 0)), SIZE)["openness"] > 0.2
    assert parameters(seen(shut, (0, 0.4, 0)), SIZE)["openness"].abs() < 0.05


@pytest.mark.parametrize("angles", [(0, 0, 0), (1e-9, 0, 0), (1e-3, 0, 0), (0.2, -0.4, 0.3)])
def test_gradients_are_those_of_finite_differences(parameters, neutral, angles):
    landmarks = seen(moved(neutral, LOWER_FACE, dy=0.03) if any(angles) else neutral, angles)
    steps = torch.randn((6, 478, 3), generator=torch.Generator().manual_seed(0), dtype=torch.double)

    def along(amounts):
        found = parameters(landmarks + (amounts[:, None, None] * steps).sum(0), SIZE)
        return tuple(found.values())

    assert torch.autograd.gradcheck(along, torch.zeros(6, dtype=torch.double, requires_grad=True), atol=1e-6)


def test_float32_is_accurate_at_rest_and_under_autocast(neutral):
    parameters = FaceParameters(neutral.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        landmarks = seen(neutral).float().requires_grad_()
        found = parameters(landmarks, SIZE)
        sum(value.sum() for value in found.values()).backward()
    assert found["pose"].abs().max() < 1e-4
    assert landmarks.grad.isfinite().all()


def test_neutral_is_taken_from_shut_mouths_open_eyes_and_frontal_frames(neutral):
    wide = moved(neutral, LOWER_FACE, dy=0.3)
    blink = neutral.clone()
    blink[flat(UPPER_LIDS), 1] = blink[flat(LOWER_LIDS), 1]
    wrong = [seen(wide), seen(blink), seen(moved(neutral, [61, 291], dy=-0.1), (0, 0.5, 0))] * 10
    found = fit_neutral(torch.cat([*wrong, *[seen(neutral, (0.02 * k, -0.02 * k, 0.05)) for k in range(-2, 2)]]))
    assert (found - neutral).abs().max() < 1e-6


def test_neutral_is_normalised_and_any_clip_of_one_face_gives_the_same(neutral):
    one = fit_neutral(seen(neutral, (0.1, 0.1, 0.2), eyes=20, x=30, y=40))
    assert (one[33] + one[263])[:2].abs().max() < 1e-9
    assert (one[263] - one[33]).norm().item() == pytest.approx(1)
    assert (one - neutral).abs().max() < 1e-6


def test_neutral_ignores_lost_frames_and_needs_one_found(neutral):
    lost = torch.full((1, 478, 3), math.nan, dtype=torch.double)
    assert (fit_neutral(torch.cat([lost, seen(neutral), lost])) - neutral).abs().max() < 1e-6
    with pytest.raises(ValueError, match="no frame"):
        fit_neutral(lost)


def test_another_face_at_rest_has_small_pose_and_no_expression(neutral):
    longer = neutral * torch.tensor([1, 1.08, 1], dtype=torch.double)
    parameters = FaceParameters(fit_neutral(seen(longer)))
    found = parameters(seen(longer), SIZE)
    assert found["pose"].abs().max() < math.radians(3)
    assert found["expression"].abs().max() < 0.1


def test_sixty_eight_points_lie_where_the_usual_order_has_them(neutral):
    points = sixty_eight(neutral)[:, :2]
    x, y = points.T
    assert points.shape == (68, 2)
    assert y.argmax() == 8, "the chin is lowest"
    assert (x[:17].diff() > 0)[2:14].all() and x[0] < -0.6 and x[16] > 0.6, "the outline runs left to right"
    assert (x[17:27].diff() > 0).all() and (y[17:27] < 0).all(), "brows left to right, above the eyes"
    assert (y[27:31].diff() > 0).all() and x[27:31].abs().max() < 1e-3, "the nose runs down the middle"
    assert (x[31:36].diff() > 0).all(), "nostrils left to right"
    for corner, lids in ((36, (37, 38, 41, 40)), (42, (43, 44, 47, 46))):
        assert x[corner] < x[corner + 3]
        assert (y[list(lids[:2])] < y[list(lids[2:])]).all(), "upper lids before lower lids"
    assert x[48] == x[48:60].min() and x[54] == x[48:60].max() and y[51] < y[57]
    assert x[60] == x[60:].min() and x[64] == x[60:].max() and y[62] <= y[66]
    mirrored = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1), 45, 44, 43, 42, 47, 46]
    mirrored += [39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
    assert (points[mirrored] * points.new_tensor([-1, 1]) - points).abs().max() < 1e-2, "left and right correspond"


def test_mouth_opening_is_the_inner_gap_over_the_eye_distance(neutral):
    shut, wide = sixty_eight(neutral)[:, :2], sixty_eight(moved(neutral, (14, 178, 402), dy=0.3))[:, :2]
    openings = mouth_opening(torch.stack([shut, wide]) * 50)
    assert openings.tolist() == pytest.approx([0, 0.3], abs=1e-6)


def test_mouth_opening_has_a_gradient_even_when_shut(neutral):
    points = sixty_eight(neutral)[:, :2].clone().requires_grad_()
    mouth_opening(points).backward()
    assert points.grad.isfinite().all()
