"""Learn how a person's mouth goes with their voice, from the tracked motion, so that a speech drives their portrait."""

from pathlib import Path

import torch

from models.audio import Lips, levelled
from models.face_parameters import SPOKEN
from pipeline import stores
from pipeline.cli import run
from pipeline.device import pick_device
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.motion import EXPRESSION_FLOOR, JAW, learned_frames
from pipeline.training import note, samples, steps, write_history

QUIET = 0.5  # least spread of the liveliest band, in the features' unit: a voice has over 1, hiss about 0.3
JAW_FLOOR = 0.01  # rad: less is the tracker's noise


def main(
    *,
    face: Path,
    audio: Path,
    out: Path,
    history: Path,
    windows: int,
    batch: int,
    rate: float,
    decay: float,
    dropout: float,
    seed: int,
    held_out: float,
    device: str,
) -> None:
    """Train the lips.

    Args:
        face, audio: the target's stores.
        out: the network.
        history: the loss log, tab-separated.
        windows: windows of sound seen in all.
        batch: windows per step.
        rate: AdamW's learning rate at the start; a cosine lowers it to zero.
        decay: AdamW's weight decay.
        dropout: part of the features dropped in training.
        seed: of every random choice.
        held_out: part of the clip, from its end, that training never sees.
        device: "cpu", "cuda" or "auto".
    """
    stores.require_one_clip(face, audio)
    place = pick_device(device)
    torch.manual_seed(seed)
    person, sound = stores.read_face(face), torch.from_numpy(stores.read_audio(audio).audio)
    learned = learned_frames(len(sound), held_out)
    if sound[:learned].std((0, 1)).max() < QUIET:
        raise InputError(
            f"{audio}: no voice in the clip that would show how the mouth goes with it; use another target"
        )
    heard = levelled(sound[:learned]).to(place)
    columns = list(SPOKEN if person.mesh.shape[1] else range(person.expression.shape[1]))  # DECA's mix lips and brows
    jaw, expression = (torch.from_numpy(values[:learned]) for values in (person.pose[:, JAW], person.expression))
    seen = torch.cat([jaw, expression[:, columns]], 1).to(place)
    pool = torch.from_numpy(person.valid[:learned]).nonzero()[:, 0].to(place)

    lips = Lips(columns, dropout=dropout).to(place)
    floor = torch.tensor([JAW_FLOOR] * 3 + [EXPRESSION_FLOOR] * len(columns), device=place)
    lips.mean.copy_(seen[pool].mean(0))
    lips.spread.copy_(seen[pool].std(0) + floor)
    optimiser = torch.optim.AdamW(lips.parameters(), lr=rate, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, windows // batch)
    log: list[dict] = []
    order = samples(pool, windows // batch, batch, seed)
    for step in steps(0, windows // batch, batch, f"{face.parent.name}: lips"):
        index = order[step]
        loss = ((lips(heard[index]) - seen[index]) / lips.spread).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % max(1, windows // batch // 20) == 0:
            note(log, step, batch, {"lips": loss})
    with whole(out) as temporary:
        torch.save({name: value.cpu() for name, value in lips.state_dict().items()}, temporary)
    write_history(log, history)


if __name__ == "__main__":
    run(main)
