"""How far a long step is: done, total, speed, time left. On a terminal a bar; elsewhere a line now and then, so that a
log or another program reads what happened, one line after the other, from however many steps at once."""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
from tqdm import tqdm

SOONEST = 10.0  # s between two lines
LATER = 0.05  # of the time gone by: the longer a step takes, the rarer its lines


class Lines(tqdm):
    """A progress bar as lines."""

    def __init__(self, *args, **kwargs):
        self.due = SOONEST  # s from the start: the next line
        self.said = kwargs["initial"]  # what the last line counted
        super().__init__(*args, **kwargs, mininterval=SOONEST, miniters=1, leave=False)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line if one is due; `msg` would stand in the bar's place, of which lines have none."""
        elapsed = self.format_dict["elapsed"]
        if msg is None and elapsed >= self.due:
            self.tell()
            self.due = elapsed + max(SOONEST, LATER * elapsed)

    def tell(self) -> None:
        """Write a line if anything was done since the last one."""
        if self.n > self.said:
            self.fp.write(f"{line(self.format_dict)}\n")
            self.fp.flush()
            self.said = self.n

    def close(self) -> None:
        if not self.disable:
            self.tell()
        super().close()


def line(now: dict) -> str:
    """ "Stage I: 1200 of 10000 images, 12 %, 45 images/s, 03:14 left", from tqdm's `format_dict`."""
    done, total, unit = now["n"], now["total"], now["unit"]
    mean = (done - now["initial"]) / max(now["elapsed"], 1e-3)
    if total is None:
        return f"{now['prefix']}: {done} {unit}, {number(mean)} {unit}/s"
    rate = now["rate"] or mean
    left = f"{tqdm.format_interval((total - done) / rate)} left"
    took = f"{tqdm.format_interval(now['elapsed'])} in all"
    speed, time = (rate, left) if done < total else (mean, took)
    return f"{now['prefix']}: {done} of {total} {unit}, {100 * done / total:.0f} %, {number(speed)} {unit}/s, {time}"


def number(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def progress(
    items: Iterable | None = None, *, name: str, unit: str, total: int | None, first: int = 0, quiet: bool = False
) -> tqdm:
    """What to iterate over instead of `items`, or, without them, what to `update` by hand.

    Args:
        name: of what is being done, and to whom.
        unit: of what is counted.
        total: how many there are; None: nobody knows.
        first: how many were done before.
        quiet: show nothing.
    """
    about = {"desc": name, "unit": unit, "total": total, "initial": first}
    about |= {"disable": True} if quiet else {}  # else as TQDM_DISABLE in the environment says
    return (tqdm if sys.stderr.isatty() else Lines)(items, **about)


def stage_of(out: Path) -> str:
    """The name of the training that leaves this file: "video/stage1.pt" -> "Stage I"."""
    name = out.name.split(".")[0]
    stage = {"stage1": "Stage I", "stage2": "Stage II"}.get(name, name)
    return f"{stage}, offline" if "offline" in out.parts else stage


def say(text: str) -> None:
    """Print a line without tearing a bar."""
    if sys.stderr.isatty():
        tqdm.write(text)
    else:
        print(text, flush=True)


def passes(batches: Callable[[], Iterable[np.ndarray]], frames: int, name: str) -> Callable[[], Iterator[np.ndarray]]:
    """The same batches (n, ...) of so many frames, each pass over them with its progress."""
    numbers = count(1)

    def watched() -> Iterator[np.ndarray]:
        with progress(name=f"{name}, pass {next(numbers)}", unit="frames", total=frames) as bar:
            for batch in batches():
                yield batch
                bar.update(len(batch))

    return watched
