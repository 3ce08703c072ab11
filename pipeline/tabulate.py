"""Make one of the paper's tables from finished figures: CSV, Markdown, and a picture of every row's frames.

The paper's own figures stand below ours where the clips are the same, or where the paper does not name its clips.
"""

import csv as csv_format
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

from pipeline import stores
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.media import read_frames
from pipeline.pictures import resized

PAPER = Path(__file__).with_name("paper_tables.yaml")
TITLES = {
    1: "Self-reenactment: the held-out end of the target's own clip",
    2: "Cross-reenactment",
    3: "Audio-driven: the held-out end of the target's own clip, the mouth driven by its sound",
    4: "Loss functions, each left out of Stage II",
    5: "Number of auxiliary clips (k = 0: Stage I alone)",
}
SELF = ("l1", "psnr", "ssim", "mouth_l1", "lpips", "fid", "csim", "r_mouth", "r_lids")
CROSS = ("csim", "apd", "aed", "fid", "landmarks", "r_mouth", "r_lids", "r_yaw", "jitter", "face_found")
FIGURES = {1: SELF, 2: CROSS, 3: SELF, 4: CROSS, 5: CROSS}
BETTER_HIGH = ("psnr", "ssim", "csim", "r_mouth", "r_lids", "r_yaw", "face_found")
METHODS = {
    "dnp": "DNP",
    "stage1": "ours, k = 0",
    "full": "ours, online",
    "offline": "ours, offline",
    "without_adversarial": "without L_gan",
    "without_perceptual": "without L_per",
    "without_consistency": "without L_con",
    "without_velocity": "without L_vel",
    **{f"auxiliary_{count}": f"ours, k = {count}" for count in range(1, 10)},
}
SHOWN = 6  # frames of each row in the picture
CELL = 128  # px

Row = dict[str, str | float | None]


def main(
    *,
    table: int,
    rows: list[str],
    metrics: list[Path],
    videos: list[Path],
    drivers: list[Path],
    csv: Path,
    markdown: Path,
    picture: Path,
) -> None:
    """Tabulate.

    Args:
        table: number in the paper, 1 to 5.
        rows: "./result/method" of each row.
        metrics: figures of each row, from `measure`.
        videos: what each row rendered.
        drivers: frame store that each row is shown beside: the driver's, or the truth.
        csv, markdown, picture: the table.
    """
    reports = [json.loads(path.read_text()) for path in metrics]
    names = [name.removeprefix("./").split("/") for name in rows]
    figures = FIGURES[table]
    ours = [
        {"result": result, "method": METHODS.get(method, method), "source": "measured"} | pick(report, figures)
        for (result, method), report in zip(names, reports, strict=True)
    ]
    listed = [*ours, *paper_rows(table, {result for result, _ in names}, figures)]
    write_csv(csv, listed)
    with whole(markdown) as temporary:
        temporary.write_text(as_markdown(table, listed, figures) + "\n".join(["", *notes(reports, figures), ""]))
    labels = [row["method"] for row in ours]
    draw(picture, TITLES[table], [result for result, _ in names], labels, videos, drivers)
    print(markdown.read_text())


def pick(report: dict, figures: tuple[str, ...]) -> Row:
    return {name: report[name] for name in figures}


def paper_rows(table: int, results: set[str], figures: tuple[str, ...]) -> list[Row]:
    """The paper's rows of the same clips, or all of them where it names none."""
    rows = []
    for result, methods in yaml.safe_load(PAPER.read_text())[table].items():
        if result in results or not result:
            for method, values in methods.items():
                about = {"result": result or "not named", "method": METHODS.get(method, method), "source": "paper"}
                rows.append(about | {name: values.get(name) for name in figures})
    return rows


def write_csv(path: Path, rows: list[Row]) -> None:
    with whole(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv_format.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def as_markdown(table: int, rows: list[Row], figures: tuple[str, ...]) -> str:
    """The rows as a Markdown table, the best of each result's measured figures in bold."""
    arrows = [f"{name} {'↑' if name in BETTER_HIGH else '↓'}" for name in figures]
    lines = [f"# Table {table}: {TITLES[table]}", "", f"| result | method | {' | '.join(arrows)} |"]
    lines.append("|" + "---|" * (2 + len(figures)))
    for row in rows:
        mates = [mate for mate in rows if (mate["result"], mate["source"]) == (row["result"], row["source"])]
        cells = [shown(row, name, mates) for name in figures]
        of_paper = ", the paper's figures" if row["source"] == "paper" else ""
        lines.append(f"| {row['result']} | {row['method']}{of_paper} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shown(row: Row, name: str, mates: list[Row]) -> str:
    """A figure, bold where it is the best among `mates`; a dash where there is none."""
    if row[name] is None:
        return "-"
    values = [mate[name] for mate in mates if mate[name] is not None]
    best = max(values) if name in BETTER_HIGH else min(values)
    text = f"{row[name]:.4g}"
    return f"**{text}**" if len(values) > 1 and row[name] == best else text


def notes(reports: list[dict], figures: tuple[str, ...]) -> Iterator[str]:
    """Why figures are missing, and what measured those that are there."""
    for name in figures:
        for reason in dict.fromkeys(report["missing"].get(name) for report in reports):
            if reason:
                yield f"- {name}: none, {reason}"
        for what in dict.fromkeys(report["measured_with"].get(name) for report in reports):
            if what:
                yield f"- {name}: {what}"
    about = reports[0]["measured_with"]
    yield from (f"- {name}: {about[name]}" for name in ("tracker", "units", "transfer"))


def draw(
    path: Path, title: str, results: list[str], labels: list[str], videos: list[Path], drivers: list[Path]
) -> None:
    """Draw each result's driver or truth above its rows, `SHOWN` frames of each at the same times."""
    strips: list[tuple[str, np.ndarray]] = []
    for place, (result, label, video, driver) in enumerate(zip(results, labels, videos, drivers, strict=True)):
        times, strip = strip_of(video)
        if place == 0 or result != results[place - 1]:
            what = "driver" if "_driven_by_" in result else "truth"
            strips.append((f"{result}\n{what}", driver_strip(driver, *times)))
        strips.append((label, strip))
    figure = Figure(figsize=(1.6 + 1.3 * SHOWN, 0.5 + 1.35 * len(strips)), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axes, (label, strip) in zip(np.atleast_1d(figure.subplots(len(strips), 1)), strips, strict=True):
        axes.imshow(strip)
        axes.set(xticks=[], yticks=[])
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axes.spines[:].set_visible(False)
    with whole(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight")  # long names widen it


def strip_of(video: Path) -> tuple[tuple[np.ndarray, int], np.ndarray]:
    """Evenly spread frames of a video: their places and the number of all frames, and them side by side."""
    count = sum(1 for _ in read_frames(video))
    places = np.linspace(0, count - 1, SHOWN + 2).round().astype(int)[1:-1]
    wanted = set(places.tolist())
    chosen = [frame.image for place, frame in enumerate(read_frames(video)) if place in wanted]
    if not chosen:
        raise InputError(f"{video}: holds no frame; render it again")
    return (places, count), np.concatenate([resized(image, CELL) for image in chosen], 1)


def driver_strip(frames: Path, places: np.ndarray, count: int) -> np.ndarray:
    """The same places of the last `count` frames of a store."""
    with stores.open_frames(frames) as store:
        start = len(store) - count
        return np.concatenate([resized(store.frames[start + int(place)], CELL) for place in places], 1)


if __name__ == "__main__":
    run(main)
