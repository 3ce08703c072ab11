import torch

from models import losses


def test_reconstruction_is_mean_squared_error_of_image_and_low_resolution_colours():
    truth = torch.rand(2, 3, 16, 16)
    low = truth.unflatten(2, (4, 4)).unflatten(4, (4, 4)).mean((3, 5))
    assert losses.reconstruction(truth, low, truth) < 1e-12
    torch.testing.assert_close(losses.reconstruction(truth + 0.1, low + 0.2, truth), torch.tensor(0.01 + 0.04))


def test_pixels_in_the_boxes_count_more_and_the_mean_is_one():
    boxes = torch.tensor(
        [[[2.0, 1.0, 5.0, 3.0], [4.0, 2.0, 6.0, 4.0]], [[0.0, 0.0, 0.0, 0.0], [-9.0, -9.0, 99.0, 1.0]]]
    )
    found = losses.importance(boxes, 8, weights=[2, 2])
    assert found.shape == (2, 1, 8, 8)
    torch.testing.assert_close(found.mean((2, 3)), torch.ones(2, 1))
    inside = found[0, 0] / found[0, 0].min()
    assert inside[1:3, 2:5].eq(3).all() and inside[2:4, 4:6].eq(3).all() and inside.eq(3).sum() == 2 * 3 + 2 * 2 - 1
    assert (found[1, 0, 0] / found[1, 0, 1]).eq(3).all()
    assert losses.importance(boxes, 8, weights=[0, 0]).eq(1).all()
    uneven = losses.importance(boxes, 8, weights=[1, 4])[0, 0]
    uneven = uneven / uneven.min()
    assert uneven[2:4, 4:6].eq(5).all() and uneven.eq(2).sum() == 2 * 3 - 1, "where boxes overlap the higher counts"


def test_an_error_counts_by_its_pixels_importance():
    truth, low = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2)
    important = torch.zeros(1, 1, 4, 4)
    important[..., 1, 2] = 16
    wrong = truth.clone()
    wrong[..., 1, 2] = 0.5
    assert losses.reconstruction(wrong, low, truth, important) == 0.25
    assert losses.reconstruction(wrong.flip(3), low, truth, important) == 0


def test_velocity_is_differentiable_where_all_codes_start():
    code = torch.zeros(3, 4, requires_grad=True)
    losses.velocity(code, torch.zeros(3, 4)).backward()
    assert torch.isfinite(code.grad).all()


def test_velocity_sums_both_lengths_and_the_step_between():
    code, neighbour = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 4.0]])
    torch.testing.assert_close(losses.velocity(code, neighbour), torch.tensor(5.0 + 4.0 + 3.0))


def test_the_discriminator_wants_real_high_and_fake_low_and_the_generator_the_opposite():
    high, low = torch.tensor([4.0]), torch.tensor([-4.0])
    assert losses.adversarial_discriminator(high, low) < 0.1 < losses.adversarial_discriminator(low, high)
    assert losses.adversarial_generator(high) < 0.1 < losses.adversarial_generator(low)


def test_adversarial_terms_are_the_binary_cross_entropy():
    real, fake = torch.randn(8), torch.randn(8)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(real, torch.ones(8)) + bce(fake, torch.zeros(8))
    torch.testing.assert_close(losses.adversarial_discriminator(real, fake), expected)


def test_consistency_counts_errors_in_spreads_and_far_ones_linearly():
    wanted = {"pose": torch.zeros(2, 6), "gaze": torch.zeros(2, 2)}
    spread = {"pose": torch.full((6,), 0.1), "gaze": torch.full((2,), 0.5)}
    found = {"pose": torch.full((2, 6), 0.1), "gaze": torch.full((2, 2), 5.0), "openness": torch.ones(2)}
    far = losses.FAR
    torch.testing.assert_close(losses.consistency(found, wanted, spread), torch.tensor(1.0 + 2 * far * (10 - far / 2)))


def test_perceptual_is_zero_only_for_equal_features():
    features = [torch.rand(2, 4, 8, 8), torch.rand(2, 8, 4, 4)]
    assert losses.perceptual(features, features) == 0
    assert losses.perceptual([f + 0.1 for f in features], features) > 0.1


def test_perceptual_layers_count_by_their_weights():
    features = [torch.ones(1, 2, 3, 3), torch.ones(1, 4, 2, 2)]
    texture = [torch.zeros(1, 2, 3, 3), torch.full((1, 4, 2, 2), 3.0)]
    torch.testing.assert_close(losses.perceptual(features, texture, [0.25, 1.0]), torch.tensor(0.25 * 1 + 1.0 * 2))
