"""Stage I: learn a person's pictures from their motion (paper section 3.3, the personalised prior).

Killed at any moment, the same command continues from the last checkpoint.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from models import losses
from pipeline import processes
from pipeline.cli import run
from pipeline.device import half_precision, pick_device
from pipeline.motion import EXPRESSION_FLOOR, neutral, take, to
from pipeline.portrait import Layout, Portrait, build_generator, save_portrait
from pipeline.preview import Preview
from pipeline.replay import Replay
from pipeline.training import (
    Average,
    Checkpoint,
    Schedule,
    beside,
    fingerprint,
    learn,
    load_performing,
    note,
    optimisers_of,
    samples,
    steps,
    write_history,
)


@dataclass(frozen=True)
class Weights:
    """Loss weights of eq. 10."""

    reconstruction: float
    mouth: float  # how much more an error of the picture counts round it
    eyes: float  # the same
    velocity: float
    lips: float  # of speech-driven portraits only


def main(
    *,
    frames: Path,
    face: Path,
    gaze: Path,
    out: Path,
    history: Path,
    preview: Path,
    layout: Layout,
    schedule: Schedule,
    weights: Weights,
    held_out: float,
    blinks: float,
    device: str,
    audio: Path | None = None,
) -> None:
    """Train Stage I.

    Args:
        frames, face, gaze: the target's stores.
        out: the portrait.
        history: the loss log, tab-separated.
        preview: pictures of held-out frames as training goes on.
        held_out: part of the clip, from its end, that training never sees.
        blinks: part of the other frames that shows shut eyes, borrowed where the clip has too few; 0: as they are.
        device: "cpu", "cuda" or "auto".
        audio: the target's sound features, for a portrait driven by audio.
    """
    place = processes.join(pick_device(device))
    torch.manual_seed(schedule.seed)
    data = load_performing(frames, face, gaze, audio, size=layout.size, held_out=held_out, blinks=blinks, device=place)
    generator = build_generator(layout).to(place)
    generator.standardise(take(data.motion, data.valid))
    spoken = data.motion["expression"][data.valid].std(0) + EXPRESSION_FLOOR
    average = Average(generator, schedule.average)
    codes = torch.nn.ParameterDict({"codes": torch.zeros(len(data.images), layout.code, device=place)})
    person = to(neutral(take(data.motion, data.valid)), torch.device("cpu"))
    learned = Portrait(average.network, codes["codes"].detach(), layout, person, data.valid)  # as it is at any moment
    drawing = Preview(
        preview, "Stage I", (frames, face, gaze, audio), held_out=held_out, steps=schedule.steps, size=layout.size
    )
    optimisers = optimisers_of(generator, codes, schedule)
    settings = asdict(layout) | asdict(schedule) | asdict(weights) | {"held_out": held_out, "blinks": blinks}
    parts = {
        "generator": generator,
        "average": average.network,
        "codes": codes,
        "preview": drawing,
        **optimisers,
    }
    belongs = fingerprint("pipeline.train_stage1", settings, [frames, face, gaze, *filter(None, [audio])])
    checkpoint = Checkpoint(out, belongs, parts, schedule.save_minutes)
    first, log = checkpoint.resume()

    def gradients(index: Tensor) -> dict[str, Tensor]:
        """The terms of eq. 10 on frames `index`; the parameters get gradients."""
        truth = data.images[index].float() / 255
        important = losses.importance(data.regions[index], layout.size, (weights.mouth, weights.eyes, weights.eyes))
        code, neighbour = codes["codes"][index], codes["codes"][beside(index, len(data.images))]

        # render them
        with half_precision(place):
            image, colours = generator(take(data.motion, index), code)

        # eq. 10 with the terms of this stage: 3 and 8
        terms = {
            "reconstruction": losses.reconstruction(image.float(), colours.float(), truth, important),
            "velocity": losses.velocity(code, neighbour),
        }
        if layout.driving == "audio":
            heard = generator.listen.heard_expression(data.motion["audio"][index])
            terms["lips"] = losses.lips(heard, data.motion["expression"][index], spoken)
        generator.zero_grad()
        codes.zero_grad()
        sum(getattr(weights, name) * term for name, term in terms.items()).backward()
        return {name: term.detach() for name, term in terms.items()}

    replay = Replay(gradients)
    order = samples(data.valid, schedule.steps, schedule.batch, schedule.seed)
    for step in steps(first, schedule.steps, schedule.batch, f"{face.parent.name}: Stage I"):
        terms = replay(index=processes.part(order[step]))
        learn(optimisers.values(), schedule.rate_at(step))
        average.update(step)
        drawing.draw_if_due(step + 1, learned)
        if (step + 1) % max(1, schedule.steps // 50) == 0:
            note(log, step, schedule.batch, terms, held_out=drawing.take_error())
        checkpoint.save_if_due(step + 1, log)

    if not processes.is_first():
        return
    save_portrait(out, learned)
    write_history(log, history)
    checkpoint.remove()


if __name__ == "__main__":
    run(main)
