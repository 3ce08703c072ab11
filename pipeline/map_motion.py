"""Figure 9 of the paper: the motion that results of Stage I and of Stage II show, beside the target's own.

Expression and pose each on their own two principal components. The paper says that Stage II brings the results' motion
back among the target's; the distance of each cloud from the target's frames says whether it did.
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pipeline import stores
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.motion import learned_frames
from pipeline.motion_space import distances, principal_components
from pipeline.plots import save, tidy

COLOURS = {"performing": "#d62728", "Stage I": "#e6ab02", "Stage II": "#1f77b4"}  # the paper's
PARTS = ("expression", "pose")
LEAST_SPREAD = 1e-4


def main(*, face: Path, stage1: Path, stage2: Path, csv: Path, picture: Path, held_out: float) -> None:
    """Map.

    Args:
        face: face store of the target.
        stage1, stage2: face stores of what the two stages' portraits rendered for the same driver.
        csv: mean distance of each cloud to the nearest frame of the target, in the target's spreads.
        picture: the figure, PNG.
        held_out: part of the target's clip, from its end, that training never saw.
    """
    own = stores.read_face(face)
    learned = learned_frames(len(own.valid), held_out)
    clouds = {"performing": seen(own, learned, face), "Stage I": seen(stores.read_face(stage1), None, stage1)}
    clouds["Stage II"] = seen(stores.read_face(stage2), None, stage2)

    figure = Figure(figsize=(11, 5), dpi=100, layout="constrained")
    figure.suptitle("Motion of the results beside the target's own, each point a frame", fontsize=11)
    lines = ["part,cloud,frames,distance"]
    for axes, part in zip(figure.subplots(1, 2), PARTS, strict=True):
        mean, spread = clouds["performing"][part].mean(0), clouds["performing"][part].std(0).clamp_min(LEAST_SPREAD)
        rows = {name: (cloud[part] - mean) / spread for name, cloud in clouds.items()}
        points = principal_components(torch.cat(list(rows.values()))).split([len(cloud) for cloud in rows.values()])
        for (name, cloud), place in zip(rows.items(), points, strict=True):
            away = distances(cloud, rows["performing"]).mean().item()
            label = name if name == "performing" else f"{name}: {away:.2f} away"
            axes.scatter(*place.T.numpy(), s=8, alpha=0.5, linewidths=0, color=COLOURS[name], label=label)
            lines.append(f"{part},{name},{len(cloud)},{away:.4f}")
        axes.set(title=part, xlabel="first principal component", ylabel="second")
        axes.legend(fontsize=9, markerscale=2.5, frameon=False)
        tidy(axes)
    save(picture, figure)
    with whole(csv) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n")


def seen(store: stores.Face, count: int | None, path: Path) -> dict[str, Tensor]:
    """Expression (n, 50) and pose (n, 6) of the first `count` frames, or all, that show a face."""
    valid = store.valid[:count]
    if valid.sum() < 2:
        raise InputError(f"{path}: only {valid.sum()} frames show a face; train longer, or choose another pair")
    return {part: torch.from_numpy(getattr(store, part)[:count][valid]) for part in PARTS}


if __name__ == "__main__":
    run(main)
