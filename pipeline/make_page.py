"""Put a portrait, the face tracker, what runs them and some motion into one HTML file that needs nothing else."""

import base64
import gzip
import html
import json
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch

from models.face_mesh import FaceDetector
from models.face_parameters import REFERENCE
from models.live_face import FRAME, NEUTRAL_FRAMES
from pipeline import stores
from pipeline.browser_runtime import require_runtime
from pipeline.cli import run
from pipeline.encoding import write_aac
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.motion import Motion, Transfer, load_motion, neutral, take
from pipeline.onnx_files import open_onnx, run_onnx
from pipeline.sliders import sliders
from pipeline.trackers import MediapipeFaces

SOURCE = Path(__file__).parent / "page"
RUNTIME = {  # page's name -> member of the npm package: with WebGPU, and the one that is faster without
    "webgpu-library": "package/dist/ort.webgpu.bundle.min.mjs",
    "webgpu-binary": "package/dist/ort-wasm-simd-threaded.asyncify.wasm",
    "wasm-library": "package/dist/ort.wasm.bundle.min.mjs",
    "wasm-binary": "package/dist/ort-wasm-simd-threaded.wasm",
}
FILES = {"style": "style.css", "engine": "engine.js", "motion": "motion.js", "app": "app.js"}
PRESENCE = 0.5  # of a face in its box: at least, to be followed


def main(
    *,
    name: str,
    portrait: Path,
    face: Path,
    gaze: Path,
    driver_frames: list[Path],
    driver_face: list[Path],
    driver_gaze: list[Path],
    driver_audio: list[Path],
    runtime: Path,
    out: Path,
    transfer: Transfer,
    blink: float,
    label: str,
    seconds: float,
    tracker: list[Path] = [],  # noqa: B006, which tyro reads
) -> None:
    """Make the page.

    Args:
        name: of the person.
        portrait: their ONNX file.
        face, gaze: stores of their footage, which say how far the sliders go.
        driver_frames, driver_face, driver_gaze, driver_audio: stores and sound of the clips whose motion it can play.
        runtime: archive of onnxruntime for browsers.
        out: the page.
        transfer: how a driver's motion becomes the target's, "relative" or "direct".
        blink: eyes open less than this part of what is usual are shut, and the gaze stays where it was.
        label: written into a corner of every picture; empty: nothing.
        seconds: of each driver, from its start.
        tracker: the tracker's ONNX files, by their names; none: without the camera.
    """
    about = read_about(portrait)
    still = {kind: torch.tensor([values]) for kind, values in about["neutral"].items()}
    footage, valid = load_motion(face, gaze)
    named = stores.read_face(face).tracker == MediapipeFaces.name
    about |= {
        "name": name,
        "label": label,
        "transfer": transfer,
        "sliders": [asdict(slider) for slider in sliders(take(footage, valid), still, named, "position" in still)],
        "drivers": [],
    }
    assets = {"portrait": portrait.read_bytes(), "poster": poster(portrait, still)} | read_runtime(runtime)
    for k, driver in enumerate(zip(driver_frames, driver_face, driver_gaze, driver_audio, strict=True)):
        told, assets[f"motion-{k}"], assets[f"sound-{k}"] = read_driver(*driver, list(still), seconds)
        about["drivers"].append(told)
    if tracker:
        assets |= {path.stem: path.read_bytes() for path in tracker}
        reference = np.load(REFERENCE).astype(np.float32).ravel().round(6).tolist()
        limits = {"score": FaceDetector.MIN_SCORE, "presence": PRESENCE, "blink": blink}
        about["tracker"] = {"frame": FRAME, "frames": NEUTRAL_FRAMES, "reference": reference} | limits
    with whole(out) as temporary:
        temporary.write_text(page(about, assets), encoding="utf-8")
    print(f"page  {out}  ({out.stat().st_size / 1e6:.1f} MB)")


def read_about(portrait: Path) -> dict:
    """What the portrait's file says of itself, as the page needs it."""
    told = open_onnx(portrait).get_modelmeta().custom_metadata_map
    if not {"neutral", "layout"} <= set(told):
        raise InputError(f"{portrait}: is no portrait; `python -m pipeline.export_portrait` writes them")
    still = json.loads(told["neutral"])
    return {"size": json.loads(told["layout"])["size"], "neutral": still, "inputs": list(still)}


def poster(portrait: Path, still: Motion) -> bytes:
    """The neutral picture as PNG: shown at once, and what a browser's own picture is held against."""
    image = run_onnx(open_onnx(portrait), still)["image"][0].transpose(1, 2, 0)
    return cv2.imencode(".png", (image[..., ::-1] * 255).round().astype(np.uint8))[1].tobytes()


def read_runtime(archive: Path) -> dict[str, bytes]:
    require_runtime(archive, "delete it and run again")
    with tarfile.open(archive) as package:
        return {name: package.extractfile(member).read() for name, member in RUNTIME.items()}


def read_driver(
    frames: Path, face: Path, gaze: Path, audio: Path, kinds: list[str], seconds: float
) -> tuple[dict, bytes, bytes]:
    """What the page is told of a driver, its motion as float32 (frames, all kinds side by side), and its sound."""
    stores.require_one_clip(frames, face, gaze)
    with stores.open_frames(frames) as clip:
        fps = float(clip.fps)
    motion, valid = load_motion(face, gaze)
    own = neutral(take(motion, valid))
    table = torch.cat([motion[kind] for kind in kinds], 1)[: round(seconds * fps)].numpy()
    with tempfile.TemporaryDirectory() as folder:
        write_aac(Path(folder) / "sound.m4a", audio, len(table) / fps)
        sound = (Path(folder) / "sound.m4a").read_bytes()
    told = {"name": face.parent.name, "fps": fps, "own": {kind: own[kind][0].tolist() for kind in kinds}}
    return told, table.astype("<f4").tobytes(), sound


def page(about: dict, assets: dict[str, bytes]) -> str:
    """The whole text; what is not text is packed and written in letters."""
    parts = {part: (SOURCE / file).read_text() for part, file in FILES.items()}
    parts["assets"] = "\n".join(
        f'<script type="text/plain" id="asset-{name}">{packed(data)}</script>' for name, data in assets.items()
    )
    parts["about"] = json.dumps(about).replace("<", "\\u003c")
    parts["name"] = html.escape(about["name"])
    text = (SOURCE / "index.html").read_text()
    for part, value in parts.items():
        text = text.replace(f"{{{{{part}}}}}", value)
    return text


def packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


if __name__ == "__main__":
    run(main)
