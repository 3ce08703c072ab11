"""One HTML file about a result: its video, pictures, figures, how it was made, licences; it needs no other file."""

import base64
import mimetypes
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment

from pipeline.files import whole
from pipeline.manifest import licences

TITLES = {
    "contact": "From beginning to end",
    "worst": "The worst frames",
    "motion": "Motion",
    "coverage": "Coverage",
    "learning": "Learning",
    "losses": "Losses",
}


class Meaning(NamedTuple):
    what: str
    unit: str = ""
    better: str = ""  # "lower" or "higher"


MEANINGS = {
    "l1": Meaning("difference to the truth, mean over all pixels", "0 to 1", "lower"),
    "psnr": Meaning("the same as a signal-to-noise ratio, large errors count more", "dB", "higher"),
    "ssim": Meaning("likeness of structures to the truth's", "at most 1", "higher"),
    "mouth_l1": Meaning("difference to the truth round the mouth", "0 to 1", "lower"),
    "lpips": Meaning("difference to the truth as people see it, by AlexNet", "", "lower"),
    "fid": Meaning("distance between the look of all frames and that of the target's clip", "", "lower"),
    "csim": Meaning("likeness of the person to the target", "-1 to 1", "higher"),
    "apd": Meaning("pose of head and jaw: difference to the motion that was asked for", "rad", "lower"),
    "aed": Meaning("expression: difference to what was asked for", "tracker's units", "lower"),
    "gaze": Meaning("gaze: difference to what was asked for", "rad", "lower"),
    "landmarks": Meaning("face points: distance between result's and driver's departures from their means",
                         "face sizes", "lower"),
    "r_yaw": Meaning("how the head's turning goes with what was asked for, a correlation", "-1 to 1", "higher"),
    "r_roll": Meaning("how the head's tilting does", "-1 to 1", "higher"),
    "r_mouth": Meaning("how the mouth's opening goes with the driver's", "-1 to 1", "higher"),
    "r_lids": Meaning("how the eyes' opening does", "-1 to 1", "higher"),
    "jitter": Meaning("change of the face points' velocity per frame; the driver's own: {driver_jitter:.4f}",
                      "face sizes", "lower"),
    "face_found": Meaning("part of the frames in which the tracker finds a face", "0 to 1", "higher"),
    "frames": Meaning("length of the result", "frames"),
    "fps": Meaning("its rate", "frames/s"),
}  # fmt: skip
SPEECH = {
    "r": Meaning("how the mouth's opening goes with the loudness of the speech, a correlation", "-1 to 1", "higher"),
    "lag": Meaning("by how much the mouth comes late where it goes best with the speech", "frames", "near 0"),
    "r_best": Meaning("the correlation there", "-1 to 1", "higher"),
    "r_shuffled": Meaning("the correlation with the sound of half a clip away, for comparison", "-1 to 1", "near 0"),
}


class Row(NamedTuple):
    """A figure in the table."""

    name: str
    value: str
    meaning: Meaning


def write_page(
    path: Path,
    template: Path,
    video: Path,
    pictures: dict[str, Path],
    captions: dict[str, str],
    report: dict,
    made: dict,
    components: list[str],
) -> None:
    """Write the page.

    Args:
        template: Jinja, with the names below.
        video: shown first.
        pictures: of the names in `TITLES`.
        captions: a text on each, and on the video and the figures.
        report: the figures, as `measure` writes them.
        made: a record, see `provenance`.
        components: what the configuration chose.
    """
    about = report["measured_with"]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    with whole(path) as temporary:
        temporary.write_text(
            environment.from_string(template.read_text()).render(
                name=path.parent.name,
                video=data_uri(video),
                pictures=[
                    (title, data_uri(pictures[name]), captions[name])
                    for name, title in TITLES.items()
                    if name in pictures
                ],
                captions=captions,
                figures=rows(report),
                missing=reasons(report),
                conditions={name: words(value) for name, value in about.items() if name not in ("licences", "speech")},
                made=made,
                licences=licences(components) | about["licences"],
            )
        )


def rows(report: dict) -> list[Row]:
    """The figures that there are, with what they mean."""
    about = report["measured_with"]
    found = [(name, report[name], MEANINGS[name]) for name in MEANINGS if report[name] is not None]
    found += [(f"speech {name}", about["speech"][name], SPEECH[name]) for name in about.get("speech", ())]
    return [
        Row(name, "-" if value is None else f"{value:.4g}", meaning._replace(what=meaning.what.format(**about)))
        for name, value, meaning in found
    ]


def reasons(report: dict) -> dict[str, list[str]]:
    """Reason -> the figures that are missing for it."""
    found: dict[str, list[str]] = {}
    for name, reason in report["missing"].items():
        found.setdefault(reason, []).append(name)
    return found


def words(value) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def data_uri(path: Path) -> str:
    """The file itself as an address."""
    return f"data:{mimetypes.guess_type(path)[0]};base64,{base64.b64encode(path.read_bytes()).decode()}"
