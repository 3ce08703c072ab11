"""How much of a driver's motion lies outside what the target shows, alone and with the auxiliary clips, and what helps.

Each part of the motion (pose, expression, gaze, and position where portraits take it) is looked at by itself, in the
units of `motion.standardised`, those that choose the texture frames of Stage II. A frame of the driver is outside in a
part when its distance to the nearest known frame exceeds the part's limit: the 99th percentile of the distances from
the target's own learned frames to the nearest one more than half a second, or a third of a shorter clip, away. So 1 %
of the target's own motion is outside each part, by construction. A frame is outside "all" when it is outside in any
part. New combinations of known parts count as inside.
"""

import json
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pipeline import stores
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.motion import (
    Motion,
    Transfer,
    join,
    load_learned,
    load_motion,
    neutral,
    standardised,
    take,
    transferred,
)
from pipeline.motion_space import EXACT, distances, principal_components
from pipeline.plots import BLUE, ORANGE, save, tidy

PERCENTILE = 0.99
APART = 0.5  # s: the target's frames nearer in time are nearly the same picture
LEAST_LIMIT = 0.01  # of a spread: below it differences are rounding
OUTSIDE = (
    "share of the driver's frames further from the nearest known frame than 99 % of the target's own frames are from "
    "those more than half a second, or a third of a shorter clip, away; all: outside in any part"
)
ENOUGH = 0.05  # part outside that asks for nothing: about what the target's own frames give
GREY, GREEN = "#b0b0b0", "#009e73"

Parts = dict[str, Tensor]  # part of the motion -> (N,) one value for each frame
Shares = dict[str, float]  # part of the motion, or "all" -> share of the driver's frames, [0, 1]


def main(
    *,
    frames: Path,
    face: Path,
    gaze: Path,
    driver_face: Path,
    driver_gaze: Path,
    auxiliary_face: list[Path],
    auxiliary_gaze: list[Path],
    out: Path,
    picture: Path,
    held_out: float,
    transfer: Transfer,
    position: bool,
) -> None:
    """Compare the driver's motion with the target's and with that of the auxiliary clips.

    Args:
        frames: frame store of the target, for its rate.
        face, gaze: the target's stores.
        driver_face, driver_gaze: the driver's.
        auxiliary_face: face stores of the clips that lend their motion.
        auxiliary_gaze: gaze stores of the same clips, in the same order.
        out: the shares of the driver's frames outside and the advice, JSON.
        picture: the same as a plot, PNG.
        held_out: part of the target's clip, from its end, that training never sees and that does not count here.
        transfer: how other people's motion becomes the target's, "relative" or "direct".
        position: whether portraits take the face's position.
    """
    names = ["pose", "expression", "gaze", *(["position"] if position else [])]
    stores.require_one_clip(frames, face)
    own, index = load_learned(face, gaze, held_out)
    with stores.open_frames(frames) as store:
        gap = min(APART * float(store.fps), (index[-1] - index[0]).item() / 3)
    clips = zip(auxiliary_face, auxiliary_gaze, strict=True)
    foreign = {paths[0].parent.name: load_foreign(*paths, neutral(own), transfer) for paths in clips}
    target, driver = face.parent.name, driver_face.parent.name
    asked = load_foreign(driver_face, driver_gaze, neutral(own), transfer)

    # everything in the target's units
    rows = {name: standardised(motion, by=own) for name, motion in foreign.items()}
    rows_own, rows_asked = standardised(own, by=own), standardised(asked, by=own)

    # the target's own distances, the limits from them, the driver's distances to each clip
    inner = {name: apart_distances(rows_own[name], index, gap) for name in names}
    limits = {name: inner[name].quantile(PERCENTILE).clamp_min(LEAST_LIMIT) for name in names}
    to_target = {name: distances(rows_asked[name], rows_own[name]) for name in names}
    to_clip = {clip: {name: distances(rows_asked[name], rows[clip][name]) for name in names} for clip in rows}

    # the shares
    alone = shares(to_target, limits)
    together = shares(least([to_target, *to_clip.values()]), limits)
    helped = {clip: shares(least([to_target, known]), limits)["all"] for clip, known in to_clip.items()}
    lines = advice(target, driver, alone, together, helped)
    report = {
        "outside": {"alone": alone, "with_auxiliary": together, "offline": dict.fromkeys(alone, 0.0)},
        "auxiliary": {clip: {"outside": share, "lowers_by": alone["all"] - share} for clip, share in helped.items()},
        "driver_among_auxiliary": driver in helped,
        "advice": lines,
        "measured_with": {
            "target": f"{target}, {len(index)} learned frames",
            "driver": f"{driver}, {len(asked['pose'])} frames with a face",
            "transfer": transfer,
            "outside": OUTSIDE,
            "target_itself": shares(inner, limits),
            "offline": "0 by definition: Stage II learns the driver's own motion",
        },
    }
    write(out, report)
    lenders = {f"auxiliary: {', '.join(rows)}": (join(list(rows.values())), GREY)} if rows else {}
    beyond = outside(to_target, limits)
    groups = {
        **lenders,
        f"{target} (target)": (rows_own, BLUE),
        f"{driver} (driver), inside": (take(rows_asked, ~beyond), GREEN),
        f"{driver} (driver), outside": (take(rows_asked, beyond), ORANGE),
    }
    bars = {f"{target} alone": (alone, ORANGE)} | ({"with the auxiliary clips": (together, GREY)} if rows else {})
    plot(picture, lines[0].rstrip("."), groups, bars, names)
    print(*lines, sep="\n", flush=True)


def load_foreign(face: Path, gaze: Path, target: Motion, transfer: Transfer) -> Motion:
    """Another clip's valid frames as the target's parameters; `target` is the target's `neutral`."""
    motion, valid = load_motion(face, gaze)
    if not valid.any():
        raise InputError(f"{face}: no frame with a face; use another clip")
    motion = take(motion, valid)
    return transferred(motion, neutral(motion), target, transfer)


def apart_distances(rows: Tensor, index: Tensor, gap: float) -> Tensor:
    """From each of a clip's frames (N, d) to the nearest one more than `gap` frames away, (N,).

    `index` (N,) are the frames' numbers in the clip.
    """
    found = []
    for some, here in zip(rows.split(1024), index.split(1024), strict=True):
        near = (here[:, None] - index).abs() <= gap
        found.append(torch.cdist(some, rows, compute_mode=EXACT).masked_fill(near, torch.inf).amin(1))
    return torch.cat(found)


def least(known: list[Parts]) -> Parts:
    """The distances to the nearest of several clips."""
    return {name: torch.stack([parts[name] for parts in known]).amin(0) for name in known[0]}


def outside(found: Parts, limits: Parts) -> Tensor:
    """(N,) bool: frames beyond the limit in any part."""
    return torch.stack([found[name] > limits[name] for name in limits]).any(0)


def shares(found: Parts, limits: Parts) -> Shares:
    """Share of the frames beyond the limit, of each part and of "all"."""
    each = {name: (found[name] > limits[name]).float().mean().item() for name in limits}
    return each | {"all": outside(found, limits).float().mean().item()}


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def advice(target: str, driver: str, alone: Shares, together: Shares, helped: dict[str, float]) -> list[str]:
    """Two plain lines: how it is, what to do. `helped`: share outside with each auxiliary clip alone added."""
    mostly = max((name for name in alone if name != "all"), key=alone.get)
    state = f"{percent(alone['all'])} of the motion of {driver} lies outside what {target} shows"
    state += f" (mostly {mostly})" if alone["all"] > ENOUGH else ""
    state += f"; with the auxiliary clips {percent(together['all'])}." if helped else "."
    if alone["all"] <= ENOUGH:
        return [state, "Nothing is needed."]
    if driver in helped:
        return [state, f"Nothing is needed: {driver} is an auxiliary clip, so Stage II knows all of its motion."]
    remedy = []
    best = min(helped, key=helped.get, default=None)
    if best and percent(helped[best]) != percent(alone["all"]):
        remedy.append(f"{best} helps most (to {percent(helped[best])} alone).")
    if together["all"] <= ENOUGH:
        remedy.append("Nothing else is needed.")
    else:
        offline = f"results/{target}_driven_by_{driver}_offline.mp4"
        remedy.append(f"The offline version, {offline}, covers all of it.")
    return [state, " ".join(remedy)]


def write(out: Path, report: dict) -> None:
    """Write the figures, shares rounded to what they mean."""
    with whole(out) as temporary:
        temporary.write_text(json.dumps(rounded(report), indent=2) + "\n")


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def plot(
    path: Path,
    title: str,
    groups: dict[str, tuple[Motion, str]],
    bars: dict[str, tuple[Shares, str]],
    names: list[str],
) -> None:
    """Draw 1200 x 500 px: left all frames on their first two principal components, right the shares outside.

    Args:
        groups: label -> standardised motion (N, d) and colour, drawn in this order.
        bars: label -> shares and colour.
        names: the parts of the motion.
    """
    figure = Figure(figsize=(12, 5), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=12)
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])

    counts = [len(rows["pose"]) for rows, _ in groups.values()]
    rows = torch.cat([torch.cat([motion[name] for name in names], 1) for motion, _ in groups.values()])
    points = principal_components(rows.asinh())  # linear near, logarithmic far: a few extreme frames take no axis over
    for (label, (_, colour)), part in zip(groups.items(), points.split(counts), strict=True):
        left.scatter(*part.T.numpy(), s=7, color=colour, alpha=0.55, linewidths=0, label=f"{label}: {len(part)}")
    left.set(xlabel="first principal component", ylabel="second", title="motion, each point a frame")
    left.legend(fontsize=9, markerscale=2.5, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)

    heights = ["all", *names]
    width = 0.8 / len(bars)
    for place, (label, (share, colour)) in enumerate(bars.items()):
        x = [k + (place - (len(bars) - 1) / 2) * width for k in range(len(heights))]
        drawn = right.bar(x, [100 * share[name] for name in heights], width, color=colour, label=label)
        right.bar_label(drawn, fmt="%.0f", fontsize=9)
    right.set(ylim=(0, 112), ylabel="frames of the driver outside, %", title="outside, by part of the motion")
    right.set_xticks(range(len(heights)), heights)
    right.legend(fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    tidy(left)
    tidy(right)
    save(path, figure)


if __name__ == "__main__":
    run(main)
