import torch

from models.crop_units import crop_units, pixels


def test_a_picture_spans_minus_one_to_one_whatever_its_size():
    for size in (64, 96):
        assert crop_units(torch.tensor([-0.5, size / 2 - 0.5, size - 0.5]), size).tolist() == [-1, 0, 1]


def test_pixels_of_another_size_lie_at_the_same_place():
    units = crop_units(torch.arange(24.0), 24)
    torch.testing.assert_close(pixels(units, 24), torch.arange(24.0))
    torch.testing.assert_close(pixels(units, 48), torch.arange(24.0) * 2 + 0.5)  # between two of the finer ones
