"""A trained portrait: one file of tensors and the layout that rebuilds its network."""

from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.generator import Generator, Upsampling
from pipeline.device import half_precision, has_bfloat16
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.motion import WIDTHS, Driving, Motion
from pipeline.replay import Replay


@dataclass(frozen=True)
class Layout:
    """The generator's layout; see models.generator.Generator."""

    size: int  # side of the image, px
    width: int  # of the MLP
    layers: int  # of the MLP
    channels: int  # of the decoder
    blocks: int  # of the decoder
    fine_blocks: int  # of a lean decoder; 0: the paper's
    code: int  # width of the latent codes
    upsampling: Upsampling  # of the decoder
    position: bool  # the face's position and size are inputs too
    driving: Driving  # "video", or "audio": the sound moves the mouth


@dataclass(frozen=True)
class Portrait:
    generator: Generator
    codes: Tensor  # (N, code) one per performing frame
    layout: Layout
    neutral: Motion  # of the person, (1, d)
    valid: Tensor  # (n,) performing frames that were learned

    @property
    def code(self) -> Tensor:
        """(1, code): the one code that renders a whole clip; codes that change from frame to frame flicker."""
        return self.codes[self.valid].mean(0, keepdim=True)


def build_generator(layout: Layout) -> Generator:
    inputs = {name: width for name, width in WIDTHS[layout.driving].items() if name != "position" or layout.position}
    sizes = {name: value for name, value in asdict(layout).items() if name not in ("position", "driving")}
    return Generator(inputs=inputs, **sizes).to(memory_format=torch.channels_last)


def blank_portrait(layout: Layout, device: torch.device) -> Portrait:
    """A portrait that has learned nothing: what one costs can be seen without a training."""
    code = torch.zeros(1, layout.code, device=device)
    return Portrait(build_generator(layout).to(device), code, layout, {}, torch.zeros(1, dtype=torch.long))


def save_portrait(path: Path, portrait: Portrait) -> None:
    state = {
        "generator": portrait.generator.state_dict(),
        "codes": portrait.codes,
        "layout": asdict(portrait.layout),
        "neutral": portrait.neutral,
        "valid": portrait.valid,
    }
    with whole(path) as temporary, open(temporary, "wb") as file:  # given a name, torch would store that too
        torch.save(state, file)


def load_portrait(path: Path, device: torch.device) -> Portrait:
    """Rebuild a portrait from its file alone.

    Raises:
        InputError: the file is missing, damaged, or no portrait.
    """
    try:
        state = torch.load(path, weights_only=True, map_location=device)
        layout = Layout(**state["layout"])
        generator = build_generator(layout).to(device)
        generator.load_state_dict(state["generator"])
        return Portrait(generator.eval(), state["codes"], layout, state["neutral"], state["valid"])
    except FileNotFoundError:
        raise InputError(f"{path}: no such portrait; the workflow trains it") from None
    except Exception as error:  # torch.load raises anything from UnpicklingError to RuntimeError on a damaged file
        raise InputError(
            f"{path}: not a portrait ({type(error).__name__}: {error}); delete it and train again"
        ) from None


class Renderer:
    """Renders a portrait's pictures, batch after batch."""

    def __init__(self, person: Portrait):
        self.code, self.place = person.code, person.codes.device
        self.generator = deepcopy(person.generator).eval()
        if has_bfloat16(self.place):  # as half precision computes anyway, but rounded once instead of in every call
            for part in self.generator.decoder():
                part.bfloat16()
        self.replay = Replay(self.once)

    def pictures(self, motion: Motion) -> np.ndarray:
        """(B, S, S, 3) uint8 pictures of the person doing `motion`, (B, d) on the portrait's device."""
        return self.on_device(motion).cpu().numpy()

    def on_device(self, motion: Motion) -> Tensor:
        """The same, left on the device, where the next call may overwrite them."""
        with torch.inference_mode():
            return self.replay(**motion)

    @torch.inference_mode()
    def once(self, **motion: Tensor) -> Tensor:
        """The same, without the preparation that pays from the second call on."""
        with half_precision(self.place):
            image, _ = self.generator(motion, self.code.expand(len(motion["pose"]), -1))
        return (image * 255).round().byte().permute(0, 2, 3, 1)
