"""The loss terms of the paper, equations 3 to 8, each a plain function and a mean."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = 2.0  # spreads: errors beyond it count linearly, so that a failed measurement does not drown the others


def reconstruction(image: Tensor, colours: Tensor, truth: Tensor, importance: Tensor | float = 1.0) -> Tensor:
    """Eq. 3 as mean squared error, of the image and of the MLP's low-resolution colours.

    Args:
        importance: (B, 1, S, S) of the image's pixels.
    """
    low = F.adaptive_avg_pool2d(truth, colours.shape[-2:])
    return (importance * (image - truth).square()).mean() + F.mse_loss(colours, low)


def importance(boxes: Tensor, size: int, weights: Sequence[float]) -> Tensor:
    """How much each pixel counts, (B, 1, size, size), mean 1 over a picture: 1 + weight times as much within a box.

    Not in the paper, whose error counts everywhere alike.

    Args:
        boxes: (B, n, 4) left, top, right, bottom, px.
        weights: of the n boxes; where they overlap the highest counts.
    """
    place = torch.arange(size, device=boxes.device) + 0.5
    low, high = boxes[..., :2, None], boxes[..., 2:, None]  # (B, n, 2, 1)
    across, down = ((low <= place) & (place < high)).unbind(2)  # (B, n, size) each
    inside = (down[..., :, None] & across[..., None, :]).float().unbind(1)  # each (B, size, size)
    # numbers, not a tensor made of them: a CUDA graph takes nothing from the host
    weighed = [weight * box for weight, box in zip(weights, inside, strict=True)]
    found = 1 + torch.stack(weighed).amax(0).unsqueeze(1)
    return found / found.mean((2, 3), keepdim=True)


def perceptual(features: list[Tensor], texture: list[Tensor], weights: list[float] | None = None) -> Tensor:
    """Eq. 4: mean absolute difference of features, layer by layer.

    Args:
        weights: of the layers, summed; None: their mean, each in units of the texture frame's own mean size, for
            networks whose layers have no customary weights.
    """
    terms = torch.stack([each((a - b).abs()) for a, b in zip(features, texture, strict=True)])  # (layers, B)
    if weights is None:
        return (terms / torch.stack([each(b.abs()).clamp_min(1e-6) for b in texture])).mean()
    return sum(weight * term for weight, term in zip(weights, terms.mean(1), strict=True))


def each(x: Tensor) -> Tensor:
    """(B, ...) -> (B,) means, in float32. `flatten` would copy channels_last, a mean's own gradient would lose it."""
    return x.sum(tuple(range(1, x.dim())), dtype=torch.float32) / x[0].numel()


def consistency(found: dict[str, Tensor], wanted: dict[str, Tensor], spread: dict[str, Tensor]) -> Tensor:
    """Eq. 5 in units of the target's own spread, squared up to `FAR` (Huber): one mean per parameter group, summed."""
    terms = [2 * F.huber_loss(found[name] / spread[name], wanted[name] / spread[name], delta=FAR) for name in spread]
    return torch.stack(terms).sum()


def lips(found: Tensor, wanted: Tensor, spread: Tensor) -> Tensor:
    """Mean squared error of the expression (B, 50) read off the audio vector, in units of the person's own spread.

    Not in the paper.
    """
    return F.mse_loss(found / spread, wanted / spread)


def adversarial_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. 6, with the standard binary cross-entropy on logits: it has eq. 6's direction and is bounded below."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def adversarial_generator(fake: Tensor) -> Tensor:
    """Eq. 7 in its non-saturating form -log D(G(c)), which keeps a gradient where the discriminator is sure."""
    return F.softplus(-fake).mean()


def velocity(code: Tensor, neighbour: Tensor) -> Tensor:
    """Eq. 8: sparse codes that change slowly; (B, d) codes of frames i and of a frame beside each."""
    return (length(code) + length(neighbour) + length(code - neighbour)).mean()


def length(x: Tensor) -> Tensor:
    """Euclidean norm with a gradient at zero, where all codes start."""
    return (x.square().sum(1) + 1e-8).sqrt()
