"""What the two training stages share: the performing frames, the sampler, the schedule, checkpoints that resume."""

import hashlib
import json
import math
from collections.abc import Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from models.generator import Generator
from pipeline import stores
from pipeline.blinks import EYES, borrow_eyes, borrow_lids, lenders, shut_eyes
from pipeline.code_digest import code_digest
from pipeline.errors import InputError
from pipeline.files import sha256, whole
from pipeline.motion import Motion, learned_frames, load_motion
from pipeline.muon import Muon
from pipeline.pictures import resized
from pipeline.processes import average_gradients, is_first, mean_of_processes
from pipeline.progress import progress, say


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage learns."""

    images: int  # training images seen in all
    batch: int  # images per step
    optimiser: Literal["muon", "adam"]  # of the generator's hidden layers; all else is Adam's
    rate: float  # learning rate at its highest
    decay: bool  # lower the rate to zero along a cosine; else constant, as in the paper
    average: float  # decay per step of the averaged weights that render
    seed: int
    save_minutes: float  # between checkpoints

    @property
    def steps(self) -> int:
        return math.ceil(self.images / self.batch)

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: a short rise, then a cosine to zero or a constant."""
        rise = min(1.0, (step + 1) / 50)
        return self.rate * rise * (0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.decay else 1.0)


REGIONS = (  # landmarks, and how far their box reaches across and down from its middle, in the larger of their extents
    (slice(48, 68), (0.75, 0.75)),  # mouth
    *((eye, (0.65, 0.4)) for eye in EYES),  # flat, as what counts within a box counts less around
)


@dataclass(frozen=True)
class Performing:
    """The target's own frames that training may see: the clip without its held-out end."""

    images: Tensor  # (N, 3, S, S) uint8, on the training device
    regions: Tensor  # (N, 3, 4) boxes round mouth and eyes: left, top, right, bottom, px of `images`
    motion: Motion  # (N, d)
    valid: Tensor  # (n,) indices of the frames whose face was found


def load_performing(
    frames: Path,
    face: Path,
    gaze: Path,
    audio: Path | None,
    *,
    size: int,
    held_out: float,
    blinks: float,
    device: torch.device,
) -> Performing:
    """Read the target's frames, shrunk to `size`, without the last `held_out` part of the clip.

    The part `blinks` of the frames shows shut eyes, borrowed where the person's own are too few, see `pipeline.blinks`.
    Not where the sound moves the face: such a portrait is not told of the lids.

    Raises:
        InputError: too few frames show a face, or the tracker does not see lids.
    """
    stores.require_one_clip(frames, face)
    motion, valid = load_motion(face, gaze, audio)
    with stores.open_frames(frames) as store:
        count = learned_frames(len(store), held_out)
        tracked = stores.read_face(face)
        landmarks = tracked.landmarks[:count]
        lent = lenders_of(face, tracked, count, blinks if audio is None else 0)
        images = np.empty((count, 3, size, size), np.uint8)
        for index in range(count):
            picture = store.frames[index]
            if index in lent:
                lender = lent[index]
                picture = borrow_eyes(picture, landmarks[index], store.frames[lender], landmarks[lender])
            images[index] = resized(picture, size).transpose(2, 0, 1)
        regions = boxes(landmarks * size / store.size)
    borrow_lids(motion["expression"], lent)
    valid = valid[:count].nonzero()[:, 0]
    if len(valid) < 2:
        raise InputError(f"{face}: only {len(valid)} of the {count} frames to learn from show a face; use another clip")
    images = torch.from_numpy(images).to(device).contiguous(memory_format=torch.channels_last)
    motion = {name: values[:count].to(device) for name, values in motion.items()}
    return Performing(images, torch.from_numpy(regions).float().to(device), motion, valid.to(device))


def lenders_of(face: Path, tracked: stores.Face, count: int, share: float) -> dict[int, int]:
    """Which of the first `count` frames borrow shut eyes, and from which; see `pipeline.blinks.lenders`."""
    if not share:
        return {}
    if not tracked.has_mesh:
        raise InputError(f"{face}: {tracked.tracker} does not see lids, so no eyes can be shut by them; set blinks: 0")
    valid = tracked.valid[:count]
    shut = shut_eyes(tracked.expression[:count], tracked.neutral)
    if is_first() and not (valid & shut).any():
        say(f"{face.parent.name}: no shut eyes among the frames to learn from; this portrait will hardly blink")
    return lenders(shut, valid, share)


def boxes(landmarks: np.ndarray) -> np.ndarray:
    """(N, 68, 2) px -> (N, 3, 4): a box round each of `REGIONS`."""
    found = []
    for region, reach in REGIONS:
        low, high = landmarks[:, region].min(1), landmarks[:, region].max(1)
        centre, half = (low + high) / 2, reach * (high - low).max(1, keepdims=True)
        found.append(np.concatenate([centre - half, centre + half], 1))
    return np.stack(found, 1)


def samples(pool: Tensor, steps: int, batch: int, seed: int) -> Tensor:
    """The members of `pool` that each step sees, (steps, batch): epoch after epoch, each a fresh permutation.

    A pure function of its arguments, so a resumed run sees what the uninterrupted one would have; on the pool's device
    from the start, as a GPU would wait for a copy in every step.
    """
    count = steps * batch
    epochs = range(math.ceil(count / len(pool)))
    order = np.concatenate([np.random.default_rng([seed, epoch]).permutation(len(pool)) for epoch in epochs])
    return pool[torch.from_numpy(order[:count]).to(pool.device)].view(steps, batch)


def beside(index: Tensor, count: int) -> Tensor:
    """The frame after each of `index`; the last one's is the frame before it."""
    return torch.where(index + 1 < count, index + 1, index - 1)


def optimisers_of(generator: Generator, codes: nn.Module, schedule: Schedule) -> dict[str, torch.optim.Optimizer]:
    """What changes a portrait's weights and latent codes, by name."""
    hidden = generator.hidden_weights() if schedule.optimiser == "muon" else []
    by_muon = set(hidden)
    rest = [each for each in (*generator.parameters(), *codes.parameters()) if each not in by_muon]
    found = {"adam": torch.optim.Adam(rest, lr=schedule.rate, fused=True)}
    return found | {"muon": Muon(hidden, lr=schedule.rate)} if hidden else found


def learn(optimisers: Collection[torch.optim.Optimizer], rate: float) -> None:
    """Change the weights along their gradients, averaged over the processes."""
    average_gradients(optimisers)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()


class Average:
    """Exponential moving average of a network's weights: what renders.

    The decay rises to its value over the first steps, so that a short training's average is not of its beginning.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network = deepcopy(network).requires_grad_(False)
        self.weights = list(self.network.parameters()), list(network.parameters())
        self.decay = decay

    def update(self, step: int) -> None:
        get_ema_multi_avg_fn(min(self.decay, step / (10 + step)))(*self.weights, step)


def fingerprint(step: str, settings: dict, inputs: list[Path]) -> str:
    """What a checkpoint belongs to: the code of the step ("pipeline.train_stage1"), all settings, all inputs' content.

    Other code may keep other things, or learn otherwise; Snakemake begins a step anew for it, too. How often a training
    is saved may change on its way.
    """
    settings = {name: value for name, value in settings.items() if name != "save_minutes"}
    identity = json.dumps([code_digest(step), settings, [sha256(path) for path in inputs]], sort_keys=True, default=str)
    return hashlib.sha256(identity.encode()).hexdigest()


class Checkpoint:
    """The state of a run beside its declared output, so that the same command continues after any interruption."""

    def __init__(self, out: Path, fingerprint: str, parts: dict, save_minutes: float):
        self.path = out.with_suffix(".checkpoint.pt")
        self.fingerprint = fingerprint
        self.parts = parts  # name -> anything with state_dict and load_state_dict
        self.interval = save_minutes * 60
        self.saved = monotonic()

    def resume(self) -> tuple[int, list[dict]]:
        """Load the state if there is one of this very run; give the step to begin with and the losses logged so far."""
        if not self.path.exists():
            return 0, []
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        except Exception as error:  # torch raises anything from UnpicklingError to RuntimeError on a damaged file
            self._tell(f"unreadable ({type(error).__name__}); starting afresh")
            return 0, []
        if state["fingerprint"] != self.fingerprint or not self.parts.keys() <= state.keys():
            self._tell("of another configuration, version or other inputs; starting afresh")
            return 0, []
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self._tell(f"continuing at step {state['step']}")
        return state["step"], state["history"]

    def _tell(self, what: str) -> None:
        if is_first():
            print(f"{self.path}: {what}", flush=True)

    def save_if_due(self, step: int, history: list[dict]) -> None:
        if is_first() and monotonic() - self.saved >= self.interval:
            self.save(step, history)

    def save(self, step: int, history: list[dict]) -> None:
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        with whole(self.path) as temporary:
            torch.save({"fingerprint": self.fingerprint, "step": step, "history": history, **parts}, temporary)
        self.saved = monotonic()

    def remove(self) -> None:
        """Called when the output is whole."""
        self.path.unlink(missing_ok=True)


def steps(first: int, last: int, batch: int, name: str) -> Iterator[int]:
    """The steps to do, with their progress in images."""
    with progress(name=name, unit="images", total=last * batch, first=first * batch, quiet=not is_first()) as bar:
        for step in range(first, last):
            yield step
            bar.update(batch)


def note(history: list[dict], step: int, batch: int, terms: dict[str, Tensor], **measured: float) -> None:
    """Append a line of the loss log and show it; the one place where the loop waits for the device.

    Args:
        measured: what else the line says; NaN where nothing new was measured.
    """
    means = torch.stack(mean_of_processes(list(terms.values()))).tolist()
    row = {"images": (step + 1) * batch} | dict(zip(terms, means, strict=True))
    broken = [name for name, value in row.items() if not math.isfinite(value)]
    if broken:
        raise InputError(
            f"training diverged at step {step}: {', '.join(broken)} not finite; lower `rate` in the config"
        )
    row |= measured
    history.append(row)
    if is_first():
        say("  ".join(f"{name} {value:.4g}" for name, value in row.items() if not math.isnan(value)))


def write_history(history: list[dict], out: Path) -> None:
    """The loss log as a table: one line per note, one column per term."""
    names = list(history[0]) if history else ["images"]
    lines = ["\t".join(names), *("\t".join(f"{row[name]:.6g}" for name in names) for row in history)]
    with whole(out) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
