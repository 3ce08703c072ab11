import pytest
import torch

from pipeline.muon import STEP, Muon, orthogonal
from tests.textbook import TextbookMuon


def test_singular_values_come_near_one_and_their_vectors_stay():
    random = torch.Generator().manual_seed(0)
    matrices = [torch.randn(shape, generator=random) for shape in [(8, 40), (40, 8), (16, 16), (8, 8), (8, 40)]]
    for matrix, made in zip(matrices, orthogonal(matrices), strict=True):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        kept = left.mT @ made @ right.mT
        found = kept.diagonal()
        assert found.min() > 0.65 and found.max() < 1.25 and values.max() > 3
        torch.testing.assert_close(kept, found.diag(), rtol=0, atol=1e-4)


def test_a_matrix_that_is_all_zeros_stays_so():
    zeros, other = orthogonal([torch.zeros(4, 6), torch.ones(4, 6)])
    assert not zeros.any() and other.all()


def test_steps_are_those_of_torchs_own_in_float32():
    gradients = torch.randn(6, 24, 60, generator=torch.Generator().manual_seed(1))
    ours, theirs = (torch.nn.Parameter(torch.zeros(24, 60)) for _ in range(2))
    muon = Muon([ours], lr=1e-3)
    reference = torch.optim.Muon([theirs], lr=1e-3, weight_decay=0, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        reference.step()
    expected = theirs.detach() * STEP / 0.2  # theirs are as long as AdamW's are said to be
    assert (ours - expected).norm() < 0.02 * expected.norm()  # theirs computes in bfloat16


def test_steps_are_the_textbooks():
    random = torch.Generator().manual_seed(3)
    shapes = [(12, 5, 3, 3), (12, 5, 3, 3), (40, 7)]
    start = [torch.randn(shape, generator=random) for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(each.clone()) for each in start] for _ in range(2))
    optimisers = Muon(ours, lr=1e-2), TextbookMuon(theirs, lr=1e-2)
    for _ in range(4):
        for mine, plain in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=random)
            plain.grad = mine.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert all((mine - before).abs().max() > 0.01 for mine, before in zip(ours, start, strict=True))


def test_a_kernels_layout_does_not_matter_and_equal_shapes_are_independent():
    gradients = torch.randn(2, 6, 5, 3, 3, generator=torch.Generator().manual_seed(2))

    def learned(order, memory_format):
        weights = [torch.nn.Parameter(torch.zeros(6, 5, 3, 3).to(memory_format=memory_format)) for _ in order]
        for weight, index in zip(weights, order, strict=True):
            weight.grad = gradients[index].clone().to(memory_format=memory_format)
        Muon(weights, lr=1e-3).step()
        return [weight.detach() for weight in weights]

    first, second = learned((0, 1), torch.channels_last)
    assert first.square().mean().sqrt().item() == pytest.approx(STEP * 1e-3, rel=0.2)
    for other in (learned((0,), torch.contiguous_format)[0], learned((1, 0), torch.contiguous_format)[1]):
        torch.testing.assert_close(first, other, rtol=1e-3, atol=1e-7)
    assert not torch.allclose(first, second, rtol=0.1)
