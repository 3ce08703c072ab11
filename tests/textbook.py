"""Generator and training steps written the plain way: the twins that speed and exactness are measured against.

Float32, the framework's default memory layout, every network called where it is needed.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import losses
from models.discriminator import Discriminator
from models.generator import Doubling, Generator, ToColours
from models.perception import Perception
from pipeline import muon
from pipeline.motion import Motion, take
from pipeline.training import Schedule


class TextbookDoubling(nn.Module):
    """Bilinear up-sampling, then a 3x3 convolution at the full size; outside the input is 0."""

    def __init__(self, fast: Doubling):
        super().__init__()
        self.weight, self.bias = fast.weight, fast.bias

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")
        return F.conv2d(x, self.weight, self.bias)[..., 1:-1, 1:-1]


class TextbookToColours(nn.Module):
    """A 7x7 convolution."""

    def __init__(self, fast: ToColours):
        super().__init__()
        self.weight, self.bias = fast.weight, fast.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=3)


def textbook(generator: Generator) -> Generator:
    """A copy with the same weights whose decoder is written as the paper describes it."""
    twin = deepcopy(generator).to(memory_format=torch.contiguous_format)
    plain = {Doubling: TextbookDoubling, ToColours: TextbookToColours}
    for module in list(twin.modules()):
        for name, part in module.named_children():
            if type(part) in plain:
                setattr(module, name, plain[type(part)](part))
    return twin


class TextbookMuon(torch.optim.Optimizer):
    """Each weight by itself, Newton and Schulz's iteration on the whole matrix."""

    def __init__(self, weights: list[nn.Parameter], lr: float):
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        a, b, c = muon.QUINTIC
        for weight in self.param_groups[0]["params"]:
            momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
            momentum.lerp_(weight.grad, 1 - muon.MOMENTUM)
            x = weight.grad.lerp(momentum, muon.MOMENTUM).flatten(1)
            length = muon.STEP * self.param_groups[0]["lr"] * max(x.shape) ** 0.5
            wide = len(x) <= len(x[0])
            x = (x if wide else x.T) / x.norm()
            for _ in range(muon.ROUNDS):
                gram = x @ x.T
                x = a * x + (b * gram + c * gram @ gram) @ x
            weight -= length * (x if wide else x.T).view_as(weight)


def textbook_optimisers(generator: Generator, schedule: Schedule) -> list[torch.optim.Optimizer]:
    hidden = generator.hidden_weights() if schedule.optimiser == "muon" else []
    rest = [weight for weight in generator.parameters() if not any(weight is each for each in hidden)]
    adam = torch.optim.Adam(rest, lr=schedule.rate)
    return [adam, TextbookMuon(hidden, schedule.rate)] if hidden else [adam]


def stage1_step(
    generator: Generator, schedule: Schedule, motion: Motion, code: Tensor, images: Tensor
) -> Callable[[], None]:
    """A step of Stage I on images (B, 3, S, S) in [0, 1]."""
    optimisers = textbook_optimisers(generator, schedule)

    def step() -> None:
        image, colours = generator(motion, code)
        generator.zero_grad()
        losses.reconstruction(image, colours, images).backward()
        for optimiser in optimisers:
            optimiser.step()

    return step


def stage2_step(
    generator: Generator,
    schedule: Schedule,
    judge: Discriminator,
    perception: Perception,
    motion: Motion,
    code: Tensor,
    images: Tensor,
) -> Callable[[], None]:
    """A step of Stage II on `motion` (B, d); its second half has no pictures of its own but images (B/2, 3, S, S)."""
    optimisers = textbook_optimisers(generator, schedule)
    judge_optimiser = torch.optim.Adam(judge.parameters(), lr=1e-4)
    half = len(images)
    foreign, texture = take(motion, slice(half, None)), torch.arange(half, device=images.device)
    spread = perception.spread({name: value.new_ones(2, value.shape[1]) for name, value in motion.items()})

    def step() -> None:
        image, colours = generator(motion, code)
        novel = image[half:]
        found, features = perception(novel, foreign, texture)
        with torch.no_grad():
            _, real_features = perception(images, foreign, texture)
        loss = losses.reconstruction(image[:half], colours[:half], images)
        loss = loss + perception.perceptual(features, real_features) + losses.consistency(found, foreign, spread)
        loss = loss + losses.adversarial_generator(judge(novel))
        generator.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        judge_optimiser.zero_grad()
        losses.adversarial_discriminator(judge(images), judge(novel.detach())).backward()
        judge_optimiser.step()

    return step
