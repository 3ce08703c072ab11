"""Plots of one result: how its motion follows the driver's, and how its losses fell.

Colours are told apart by the colour-blind, too; the ground is opaque, so that the ink shows in any surroundings.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.files import whole

BLUE, ORANGE, INK, PALE = "#0072b2", "#d55e00", "#333333", "#cccccc"
WIDTH = 11  # inches
DPI = 100
COLUMNS = 4  # of the losses
SMOOTH = 7  # notes of a loss log that its line is the mean of


class Trace(NamedTuple):
    """A curve of the driver and the same of the result, over the frames."""

    name: str  # with its unit
    driver: np.ndarray  # (N,), NaN where no face was found
    result: np.ndarray  # (N,), likewise


def draw_traces(path: Path, traces: list[Trace], fps: float, driver: str, seconds: float) -> None:
    """Draw the traces of the first `seconds` one above the other; `driver` says whose the first curve is."""
    count = min(len(traces[0].driver), round(seconds * fps))
    time = np.arange(count) / fps
    figure = Figure(figsize=(WIDTH, 0.6 + 1.25 * len(traces)), dpi=DPI, layout="constrained")
    for axes, trace in zip(figure.subplots(len(traces), 1, sharex=True), traces, strict=True):
        axes.plot(time, trace.driver[:count], color=BLUE, linewidth=1.6, label=driver)
        axes.plot(time, trace.result[:count], color=ORANGE, linewidth=1.2, label="result")
        axes.set_ylabel(trace.name, rotation=0, ha="right", va="center", fontsize=9)
        axes.margins(x=0)
        tidy(axes)
    axes.set_xlabel("s", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    save(path, figure)


def draw_losses(path: Path, logs: list[tuple[str, dict[str, np.ndarray]]]) -> None:
    """Draw every term of the loss logs, (name of the stage, {"images": (n,), term: (n,)}), each on its own axes.

    A term that is measured now and then, NaN between, is drawn as it is, all others smoothed.
    """
    terms = [(stage, name, log["images"], values) for stage, log in logs for name, values in log.items()]
    terms = [term for term in terms if term[1] != "images" and len(term[3])]
    rows = max(1, -(-len(terms) // COLUMNS))
    figure = Figure(figsize=(WIDTH, 0.5 + 1.9 * rows), dpi=DPI, layout="constrained")
    every = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, (stage, name, images, values) in zip(every, terms, strict=False):
        measured = np.isfinite(values)
        images, values = images[measured], values[measured]
        axes.plot(images, values, ".", color=PALE, markersize=4)
        axes.plot(images, running_mean(values) if measured.all() else values, color=BLUE, linewidth=1.6)
        axes.set_title(f"{stage}: {name}", fontsize=9, loc="left", color=INK)
        axes.locator_params(nbins=4)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        tidy(axes)
    for axes in every[len(terms) :]:
        axes.set_axis_off()
    figure.supxlabel("images seen", fontsize=9, color=INK)
    save(path, figure)


def running_mean(values: np.ndarray) -> np.ndarray:
    """(n,) -> (n,): the mean of up to `SMOOTH` values around each."""
    kernel = np.ones(min(SMOOTH, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def read_log(path: Path) -> dict[str, np.ndarray]:
    """A loss log, as training wrote it: column -> (n,)."""
    names, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return {name: np.array([float(row[column]) for row in rows]) for column, name in enumerate(names)}


def tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(labelsize=8, color=PALE, labelcolor=INK)


def save(path: Path, figure: Figure) -> None:
    with whole(path) as temporary:
        figure.savefig(temporary)
