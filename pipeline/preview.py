"""See a portrait learn: pictures of the same held-out frames at growing parts of its training, in one picture."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline import stores
from pipeline.metrics import l1
from pipeline.motion import Motion, learned_frames, load_motion, take, to
from pipeline.pictures import resized
from pipeline.portrait import Portrait, Renderer
from pipeline.processes import is_first
from pipeline.sheets import save, sheet

MOMENTS = (2, 5, 10, 20, 35, 60, 100)  # % of the steps
SHOWN = 4  # frames, spread over what training never sees
LARGEST = 192  # px, of a picture on the sheet


class Preview:
    """The picture beside a training's output: a column for the truth, then one for every moment as it comes.

    It is a part of the checkpoint, so what was drawn before a kill is there after it.
    """

    def __init__(
        self,
        out: Path,
        title: str,
        stores_of: tuple[Path, Path, Path, Path | None],
        *,
        held_out: float,
        steps: int,
        size: int,
    ):
        """Choose the frames.

        Args:
            out: the picture.
            title: of the training.
            stores_of: the target's frames, face, gaze and, for a portrait driven by audio, its sound features.
            held_out: part of the clip, from its end, that training never sees.
            steps: of the whole training.
            size: side of the portrait's pictures, px.
        """
        frames, *tracked = stores_of
        motion, valid = load_motion(*tracked)
        count = learned_frames(len(valid), held_out)
        unseen = valid[count:].nonzero()[:, 0] + count
        pool = unseen if len(unseen) else valid.nonzero()[:, 0]
        title += "" if len(unseen) else ": frames it learned, as no other shows a face"
        places = pool[np.linspace(0, len(pool) - 1, SHOWN + 2).round().astype(int)[1:-1]]
        self.out, self.title, self.cell = out, title, min(size, LARGEST)
        self.due = {max(1, round(steps * moment / 100)): moment for moment in MOMENTS}  # steps done -> %
        self.motion: Motion = take(motion, places)
        with stores.open_frames(frames) as store:
            self.truth = [resized(store.frames[int(place)], self.cell) for place in places]
            self.words = [f"{store.time[int(place)]:.1f} s" for place in places]
        self.drawn: dict[int, Tensor] = {}  # % -> (SHOWN, cell, cell, 3) uint8
        self.error = math.nan

    def draw_if_due(self, step: int, portrait: Portrait) -> None:
        """Add the moment's column once `step` steps are done; the weights and all random numbers stay as they are."""
        if step not in self.due or not is_first():
            return
        found = Renderer(portrait).once(**to(self.motion, portrait.codes.device)).cpu().numpy()
        images = np.stack([resized(image, self.cell) for image in found])
        self.drawn[self.due[step]] = torch.from_numpy(images)
        self.error = l1(images, np.stack(self.truth))
        self.save()

    def take_error(self) -> float:
        """Mean absolute error of the latest column's pictures, in [0, 1], once; NaN until there is another column."""
        error, self.error = self.error, math.nan
        return error

    def save(self) -> None:
        """Write the picture as it is by now; moments to come are empty places."""
        moments = list(self.due.values())
        later = [self.drawn[m].numpy() if m in self.drawn else [None] * SHOWN for m in moments]
        rows = [list(row) for row in zip(self.truth, *later, strict=True)]
        save(self.out, sheet(rows, self.cell, ["truth", *(f"{m} %" for m in moments)], self.words, self.title))

    def state_dict(self) -> dict:
        return {"drawn": self.drawn, "error": self.error}

    def load_state_dict(self, state: dict) -> None:
        self.drawn, self.error = state["drawn"], state["error"]
        if is_first():
            self.save()
