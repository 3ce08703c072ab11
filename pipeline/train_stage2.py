"""Stage II: extend the portrait to motion the person never showed (paper section 3.3, the morphable prior).

Half of each batch are the person's own frames, which keep the picture right; the other half is motion of other people,
without pictures, held by the perceptual, consistency and adversarial terms.
Killed at any moment, the same command continues from the last checkpoint.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from models import losses
from models.discriminator import Discriminator
from pipeline import processes
from pipeline.cli import run
from pipeline.device import half_precision, pick_device
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.motion import (
    EXPRESSION_FLOOR,
    JAW,
    Motion,
    Transfer,
    join,
    load_motion,
    nearest,
    neutral,
    take,
    to,
    transferred,
)
from pipeline.perception import PerceptualName, open_perception
from pipeline.portrait import Portrait, load_portrait, save_portrait
from pipeline.preview import Preview
from pipeline.progress import stage_of
from pipeline.replay import Replay
from pipeline.trackers import FaceName
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
    perceptual: float
    consistency: float
    adversarial: float
    velocity: float
    lips: float  # of speech-driven portraits only


@dataclass(frozen=True)
class Critic:
    """The discriminator."""

    channels: int  # of its first layer
    rate: float  # its learning rate


def main(
    *,
    stage1: Path,
    frames: Path,
    face: Path,
    gaze: Path,
    auxiliary_face: list[Path],
    auxiliary_gaze: list[Path],
    networks: Path,
    out: Path,
    history: Path,
    preview: Path,
    schedule: Schedule,
    weights: Weights,
    critic: Critic,
    held_out: float,
    blinks: float,
    transfer: Transfer,
    consistency: FaceName,
    perceptual: PerceptualName,
    device: str,
    audio: Path | None = None,
    auxiliary_audio: list[Path] | None = None,
) -> None:
    """Train Stage II.

    Args:
        stage1: the portrait to begin with.
        frames, face, gaze: the target's stores.
        auxiliary_face: face stores of the clips that lend their motion.
        auxiliary_gaze: gaze stores of the same clips, in the same order.
        networks: folder of the networks' files.
        out: the portrait; beside it, in auxiliary.txt, come the names of the auxiliary clips, one a line, as soon as it
            learns: it keeps them when more clips come.
        history: the loss log, tab-separated.
        preview: pictures of held-out frames as training goes on.
        held_out: part of the target's clip, from its end, that training never sees.
        blinks: part of the other frames that shows shut eyes, borrowed where the clip has too few; 0: as they are.
        transfer: how other people's motion becomes the target's, "relative" or "direct".
        consistency: network of eq. 5, that of the face tracker: "mediapipe" or "deca".
        perceptual: network of eq. 4: "mediapipe", with the same consistency network only, or "vgg19".
        device: "cpu", "cuda" or "auto".
        audio, auxiliary_audio: sound features of the same clips, for a portrait driven by audio.
    """
    place = processes.join(pick_device(device))
    torch.manual_seed(schedule.seed)
    portrait = load_portrait(stage1, place)
    generator, layout = portrait.generator.train(), portrait.layout
    data = load_performing(frames, face, gaze, audio, size=layout.size, held_out=held_out, blinks=blinks, device=place)
    own = take(data.motion, data.valid)
    foreign = to(load_auxiliary(auxiliary_face, auxiliary_gaze, auxiliary_audio, portrait.neutral, transfer), place)
    texture = data.valid[nearest(foreign, own)]  # frame t of eq. 4 for every auxiliary frame
    if not layout.position:  # not told where the face is, the portrait leaves it where frame t has it
        foreign["position"] = data.motion["position"][texture]
    perception, files = open_perception(consistency, perceptual, networks, frames, face, data)
    perception.to(place)
    spread = perception.spread(own) if layout.driving == "video" else head_only(perception.spread(own))
    spoken = own["expression"].std(0) + EXPRESSION_FLOOR
    average = Average(generator, schedule.average)
    codes = torch.nn.ParameterDict({"codes": portrait.codes.to(place)})
    learned = Portrait(average.network, codes["codes"].detach(), layout, portrait.neutral, data.valid)  # at any moment
    drawing = Preview(
        preview, stage_of(out), (frames, face, gaze, audio), held_out=held_out, steps=schedule.steps, size=layout.size
    )
    judge = Discriminator(channels=critic.channels).to(place, memory_format=torch.channels_last)
    optimisers = optimisers_of(generator, codes, schedule)
    judge_optimiser = torch.optim.Adam(judge.parameters(), lr=critic.rate, betas=(0.5, 0.999), fused=True)
    settings = asdict(schedule) | asdict(weights) | {"critic": asdict(critic), "held_out": held_out}
    settings |= {"blinks": blinks, "transfer": transfer}
    inputs = [stage1, frames, face, gaze, *auxiliary_face, *auxiliary_gaze, *files]
    inputs += [*filter(None, [audio]), *(auxiliary_audio or [])]
    parts = {"generator": generator, "average": average.network, "codes": codes, "judge": judge}
    parts |= {"judge_optimiser": judge_optimiser, "preview": drawing, **optimisers}
    belongs = fingerprint("pipeline.train_stage2", settings, inputs)
    checkpoint = Checkpoint(out, belongs, parts, schedule.save_minutes)
    first, log = checkpoint.resume()

    def gradients(index: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The terms of eqs. 6 and 10 on frames `index` and auxiliary motion `other`; the parameters get gradients."""
        half = len(index)
        nearby = texture[other]
        truth = data.images[index].float() / 255
        important = losses.importance(data.regions[index], layout.size, (weights.mouth, weights.eyes, weights.eyes))
        motion = join([take(data.motion, index), take(foreign, other)])
        code, neighbour = codes["codes"][index], codes["codes"][beside(index, len(data.images))]
        lent = codes["codes"][nearby].detach()

        # render both halves
        judge.requires_grad_(False)
        with half_precision(place):
            image, colours = generator(motion, torch.cat([code, lent]))
            novel = image[half:]
            judged = judge(novel).float()
        colours = colours.float()

        # the generator's terms: 3 and 8 on its own frames, 4, 5 and 7 on novel motion
        with half_precision(place):
            found, features = perception(novel, take(foreign, other), nearby)
            real_features = perception.features(data.images[nearby].float() / 255, take(data.motion, nearby))
        terms = {
            "reconstruction": losses.reconstruction(image[:half], colours[:half], truth, important),
            "perceptual": perception.perceptual(features, real_features),
            "consistency": losses.consistency(found, take(foreign, other), spread),
            "adversarial": losses.adversarial_generator(judged),
            "velocity": losses.velocity(code, neighbour),
        }
        if layout.driving == "audio":
            heard = generator.listen.heard_expression(data.motion["audio"][index])
            terms["lips"] = losses.lips(heard, data.motion["expression"][index], spoken)
        generator.zero_grad()
        codes.zero_grad()
        sum(getattr(weights, name) * term for name, term in terms.items()).backward()

        # the discriminator's term, 6
        judge.requires_grad_(True)
        with half_precision(place):
            real, fake = judge(torch.cat([truth, novel.detach()])).float().split(half)
        terms["discriminator"] = losses.adversarial_discriminator(real, fake)
        judge_optimiser.zero_grad(set_to_none=True)
        terms["discriminator"].backward()
        return {name: term.detach() for name, term in terms.items()}

    # half performing frames with their pictures, half auxiliary motion without
    replay, half = Replay(gradients), schedule.batch // 2
    order = samples(data.valid, schedule.steps, half, schedule.seed)
    others = samples(torch.arange(len(texture), device=place), schedule.steps, half, schedule.seed + 1)
    if processes.is_first():
        with whole(out.with_name("auxiliary.txt")) as temporary:
            temporary.write_text("".join(f"{path.parent.name}\n" for path in auxiliary_face))
    for step in steps(first, schedule.steps, schedule.batch, f"{face.parent.name}: {stage_of(out)}"):
        terms = replay(index=processes.part(order[step]), other=processes.part(others[step]))
        learn(optimisers.values(), schedule.rate_at(step))
        learn([judge_optimiser], critic.rate)
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


def head_only(spread: dict[str, Tensor]) -> dict[str, Tensor]:
    """What eq. 5 compares where the sound moves the mouth: the head's pose and position; an infinite unit counts 0."""
    pose = spread["pose"].clone()
    pose[JAW] = torch.inf
    return {name: spread[name] for name in ("position",) if name in spread} | {"pose": pose}


def load_auxiliary(
    faces: list[Path], gazes: list[Path], audios: list[Path] | None, target: Motion, transfer: Transfer
) -> Motion:
    """Motion of the auxiliary clips' valid frames as the target's parameters, one clip after the other."""
    motions = []
    target = to(target, torch.device("cpu"))  # where the stores are read
    for face, gaze, audio in zip(faces, gazes, audios or [None] * len(faces), strict=True):
        motion, valid = load_motion(face, gaze, audio)
        if not valid.any():
            raise InputError(f"{face}: no frame with a face, nothing to lend; take it out of `auxiliary`")
        motion = take(motion, valid)
        motions.append(transferred(motion, neutral(motion), target, transfer))
    return join(motions)


if __name__ == "__main__":
    run(main)
