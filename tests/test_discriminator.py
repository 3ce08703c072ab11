import torch

from models.discriminator import Discriminator


def test_the_papers_layout_has_2764737_parameters_and_30_by_30_patches():
    discriminator = Discriminator(channels=64)
    assert sum(p.numel() for p in discriminator.parameters()) == 2_764_737
    assert discriminator(torch.rand(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_every_convolution_has_spectral_norm_one():
    torch.manual_seed(0)
    discriminator = Discriminator(channels=4).train()
    for _ in range(50):  # power iterations
        discriminator(torch.rand(1, 3, 32, 32))
    for layer in discriminator.layers[::2]:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        torch.testing.assert_close(norm, torch.tensor(1.0), rtol=0.02, atol=0)


def test_a_patch_sees_only_its_surroundings():
    discriminator = Discriminator(channels=4).eval()
    image = torch.rand(1, 3, 256, 256)
    other = image.clone()
    other[..., :64] = 0
    change = (discriminator(image) - discriminator(other)).abs()[0, 0]
    assert change[:, 0].max() > 0 and change[:, 15:].max() == 0
