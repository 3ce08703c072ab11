"""Muon: an optimiser whose steps are as long in every direction of a weight matrix."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's: brings singular values near 1 in five rounds, and no nearer
ROUNDS = 5
STEP = 0.4  # root mean square of an element's change, in learning rates: near Adam's, so both take the same rate


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for weights of linear layers and convolutions.

    A step is the gradient's momentum with all its singular values brought near 1: what few pictures show is learned as
    fast as what all of them do. `torch.optim.Muon` takes matrices alone, one after the other, and computes in bfloat16,
    which many processors only emulate; here they go together, in their own precision.

    Args:
        weights: (out, in) or (out, in, height, width) each; all must have gradients when `step` is called.
        lr: learning rate.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float):
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights along their gradients."""
        for group in self.param_groups:
            weights = group["params"]
            gradients = [weight.grad for weight in weights]
            momenta = [self._momentum(weight) for weight in weights]
            torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
            ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov's
            steps = orthogonal([inputs_last(each).flatten(1) for each in ahead])
            for weight, step in zip(map(inputs_last, weights), steps, strict=True):
                weight.add_(step.view_as(weight), alpha=-group["lr"] * STEP * max(step.shape) ** 0.5)

    def _momentum(self, weight: nn.Parameter) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        return state["momentum"]


def inputs_last(weight: Tensor) -> Tensor:
    """(out, in, ...) -> (out, ..., in), as a convolution's lie in memory; a view."""
    return weight.movedim(1, -1)


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """The same singular vectors, and values between 0.65 and 1.25, but where they are next to 0; of any shapes.

    Newton and Schulz's iteration on the products of the shorter side's vectors with each other, which are small: all of
    one size together.
    """
    wide = [each if each.shape[0] <= each.shape[1] else each.mT for each in matrices]
    alike, scales = defaultdict(list), {}
    for place, each in enumerate(wide):
        alike[len(each)].append(place)
    for places in alike.values():
        grams = torch.stack([wide[place] @ wide[place].mT for place in places])
        squared = grams.diagonal(dim1=1, dim2=2).sum(1).clamp_min(1e-24)[:, None, None]
        scales |= zip(places, scaling(grams / squared) / squared.sqrt(), strict=True)  # no singular value above 1
    found = [scales[place] @ each for place, each in enumerate(wide)]
    return [step if step.shape == each.shape else step.mT for step, each in zip(found, matrices, strict=True)]


def scaling(gram: Tensor) -> Tensor:
    """(n, m, m): what brings the singular values near 1 of matrices, none above 1, whose rows' products are `gram`."""
    change = total = quintic(gram)
    for _ in range(ROUNDS - 1):
        gram = change @ gram @ change
        change = quintic(gram)
        total = change @ total
    return total


def quintic(gram: Tensor) -> Tensor:
    """(n, m, m): what a round multiplies the matrices by whose rows' products are `gram`."""
    a, b, c = QUINTIC
    one = torch.eye(gram.shape[1], device=gram.device, dtype=gram.dtype)
    return torch.baddbmm(a * one + b * gram, gram, gram, alpha=c)
