"""The live page, in a real browser: `make test-browser`, or where a Chromium is installed.

The tiny page has a portrait that learned nothing: it tells whether the browser computes what torch does. Where the demo
was made (results/Astronaut.html) its page is moved by sliders and by a camera.
"""

import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import skimage
import torch

from models.face_parameters import REFERENCE
from pipeline import fetch_browser_runtime, make_page
from pipeline.face_tracker import FaceTracker
from pipeline.motion import load_motion, neutral, transferred
from pipeline.portrait import load_portrait
from pipeline.sound import write_sound
from pipeline.trackers import mesh_parameters
from tests.clips import run_ffmpeg
from tests.conftest import WEIGHTS
from tests.page_for_tests import CHROMIUM, LOCAL, PACKED, SOFTWARE_GPU, Visit, camera, unpacked, visit
from tests.portrait_for_tests import export_untrained
from tests.project_for_tests import ROOT
from tests.stores_for_tests import write_clip

DEMO = ROOT / "results/Astronaut.html"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; make test-browser installs one"),
]
needs_demo = pytest.mark.skipif(not DEMO.exists(), reason=f"{DEMO.name} is not there; make test-browser makes it")
PIXELS = "() => document.getElementById('view').toDataURL()"
STILL = f"""async () => ({PACKED})(await MyPortrait.picture(
    Object.fromEntries(Object.entries(MyPortrait.about.neutral).map(([n, v]) => [n, Float32Array.from(v)]))))"""
GIVEN_UP = "WebGPU cannot be used here: no answer within 60 s. WebAssembly computes instead."
SILENT_GPU = """
    Object.defineProperty(navigator, "gpu", { value: { requestAdapter: async () => ({}) } });
    const send = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message) {
        if (message.value.provider === "webgpu") window.dropped = true;
        else send.call(this, message);
    };
"""
DEAF_GPU = 'Object.defineProperty(navigator, "gpu", { value: { requestAdapter: () => new Promise(() => {}) } });'
SLOW_CAMERA = """
    navigator.mediaDevices.getUserMedia = async () => {
        await new Promise((done) => { window.allow = done; });
        const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
        const context = canvas.getContext("2d");
        setInterval(() => context.fillRect(0, 0, 64, 48), 50);
        const stream = canvas.captureStream(20);
        window.track = stream.getTracks()[0];
        return stream;
    };
"""
SENDING = [
    "fetch(at + '/fetch')",
    "new Promise((_, no) => { new WebSocket(at.replace('http', 'ws') + '/socket').onerror = no; })",
    "navigator.sendBeacon(at + '/beacon', 'x')",
    "new Promise((_, no) => { const i = new Image(); i.onerror = no; i.src = at + '/image'; })",
]
OVERLAPPING = """() => {
    const all = [...document.querySelectorAll("button, h1, h2, p, select, input, canvas, output")]
        .filter((each) => each.offsetParent).map((each) => [each, each.getBoundingClientRect()]);
    const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    return all.flatMap(([one, a], k) => all.slice(k + 1)
        .filter(([other, b]) => over(a, b) && !one.contains(other))
        .map(([other]) => `${one.outerHTML.slice(0, 60)} over ${other.outerHTML.slice(0, 60)}`));
}"""


def choose(tab: Visit, backend: str) -> None:
    """Have this backend compute, and wait until one does."""
    tab.tab.locator("#backend").select_option(backend)
    tab.tab.wait_for_selector("#backend:enabled", timeout=240_000)


@pytest.fixture(scope="module")
def place(tmp_path_factory, tracker_files) -> dict[str, Path]:
    """A page, and what it was made of."""
    folder = tmp_path_factory.mktemp("page")
    clip = write_clip(folder / "Disc", frames=50)
    write_sound(folder / "Disc" / "audio.wav", 0.1 * np.sin(np.arange(2 * 16000) / 10), 16000)
    export_untrained(folder, clip, name="Tiny", size=64)
    runtime = WEIGHTS / "onnxruntime-web.tgz"
    if not runtime.exists():
        fetch_browser_runtime.main(out=runtime)
    make_page.main(
        name="Tiny",
        portrait=folder / "Tiny.onnx",
        face=clip["face"],
        gaze=clip["gaze"],
        driver_frames=[clip["frames"]],
        driver_face=[clip["face"]],
        driver_gaze=[clip["gaze"]],
        driver_audio=[folder / "Disc" / "audio.wav"],
        runtime=runtime,
        out=folder / "Tiny.html",
        transfer="relative",
        blink=0.5,
        label="synthetic",
        seconds=60,
        tracker=list(tracker_files.values()),
    )
    return {"page": folder / "Tiny.html", "portrait": folder / "stage2.pt", **clip}


@pytest.fixture(scope="module")
def playwright():
    from playwright.sync_api import sync_playwright  # takes a second, which a run that skips need not spend

    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def tiny(place, playwright):
    with visit(playwright) as tab:
        yield tab.open(place["page"].as_uri())


def test_it_opens_by_a_double_click_without_an_error_or_any_connection(tiny):
    assert tiny.said == [] and tiny.message() == ""
    assert [address for address in tiny.asked if not address.startswith(LOCAL)] == []
    assert tiny.tab.locator("#speed").inner_text() != "loading"


def test_the_browsers_pictures_are_torchs(tiny, place):
    person = load_portrait(place["portrait"], torch.device("cpu"))
    motion, valid = load_motion(place["face"], place["gaze"])
    asked = transferred(motion, neutral(motion), person.neutral, "relative")
    with torch.inference_mode():
        true, _ = person.generator(asked, person.code.expand(len(valid), -1))
    for frame in range(0, 50, 5):
        values = {name: asked[name][frame].tolist() for name in asked}
        image = tiny.tab.evaluate(
            f"""async (motion) => ({PACKED})(await MyPortrait.picture(
                Object.fromEntries(Object.entries(motion).map(([name, list]) => [name, Float32Array.from(list)]))))""",
            values,
        )
        assert abs(unpacked(image, "f4") - true[frame].flatten().numpy()).max() * 255 < 2


def test_webgpu_says_the_same_or_is_left_with_a_word(playwright, place):
    """A software adapter may take too long, and for nothing else: then WebAssembly goes on, and says so."""
    with visit(playwright, *SOFTWARE_GPU) as tab:
        tab.open(place["page"].as_uri())
        if tab.tab.locator("#backend option").count() < 2:
            pytest.skip("this Chromium brings no software adapter for WebGPU")
        assert tab.tab.locator("#backend").input_value() == "wasm"  # software is no reason to leave WebAssembly
        true = unpacked(tab.tab.evaluate(STILL), "f4")
        choose(tab, "webgpu")
        if tab.tab.locator("#backend").input_value() == "webgpu":
            assert tab.message() == "" and tab.said == []
        else:
            assert tab.message() == GIVEN_UP
        for again in tab.tab.evaluate(f"() => Promise.all([({STILL})(), ({STILL})()])"):  # at once
            assert abs(unpacked(again, "f4") - true).max() * 255 < 2


@pytest.mark.parametrize(
    ("driver", "there", "patience", "said"),
    [
        (SILENT_GPU, "window.dropped", 61_000, GIVEN_UP),
        (DEAF_GPU, "document.querySelector('#sliders input')", 6_000, ""),
    ],
    ids=["at work", "when asked what it is"],
)
def test_a_graphics_card_that_never_answers_is_given_up(playwright, place, driver, there, patience, said):
    with visit(playwright) as tab:
        tab.tab.clock.install()
        tab.tab.add_init_script(driver)
        tab.tab.goto(place["page"].as_uri())
        tab.tab.wait_for_function(f"() => {there}")
        tab.tab.clock.fast_forward(patience)
        tab.tab.wait_for_selector("html[data-ready=true]", timeout=240_000)
        assert tab.message() == said
        assert tab.tab.locator("#backend").input_value() == "wasm" and tab.tab.locator("#backend").is_enabled()
        assert unpacked(tab.tab.evaluate(STILL), "f4").std() > 0


def test_a_drivers_motion_becomes_the_targets_as_in_python(tiny, place):
    motion, _ = load_motion(place["face"], place["gaze"])
    target = {name: value + 0.1 for name, value in neutral(motion).items()}
    wanted = transferred(motion, neutral(motion), target, "relative")
    floats = {
        name: [motion[name][7].tolist(), neutral(motion)[name][0].tolist(), target[name][0].tolist()] for name in motion
    }
    found = tiny.tab.evaluate(
        """(given) => {
            const take = (k) => Object.fromEntries(
                Object.entries(given).map(([name, lists]) => [name, Float32Array.from(lists[k])]));
            const found = MyPortrait.transferred(take(0), take(1), take(2), "relative");
            return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, Array.from(values)]));
        }""",
        floats,
    )
    for name in motion:
        assert np.allclose(found[name], wanted[name][7], atol=1e-5), name


def test_a_portrait_without_position_takes_the_other_motion_alone(tiny):
    found = tiny.tab.evaluate(
        """() => {
            const motion = { pose: Float32Array.of(3), expression: Float32Array.of(2), gaze: Float32Array.of(1) };
            const still = { pose: Float32Array.of(1), expression: Float32Array.of(0), gaze: Float32Array.of(5) };
            const target = { pose: Float32Array.of(9), expression: Float32Array.of(0), gaze: Float32Array.of(0) };
            return Object.entries(MyPortrait.transferred(motion, still, target, "relative")).map(([n, v]) => [n, v[0]]);
        }"""
    )
    assert found == [["pose", 11], ["expression", 2], ["gaze", -4]]


def test_no_script_on_the_page_can_send_anything(tiny):
    asked = []

    class Listening(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for way in SENDING:
            tiny.tab.evaluate(f"async (at) => {{ try {{ await {way}; }} catch {{}} }}", address)
        tiny.tab.wait_for_timeout(1000)
        assert asked == []
        urllib.request.urlopen(f"{address}/heard").close()
        assert asked == ["/heard"]
        server.shutdown()
    assert all("Content Security Policy" in line for line in tiny.said) and len(tiny.said) >= len(SENDING)
    tiny.said.clear()
    tiny.asked.clear()


def test_a_slider_a_key_and_the_reset_move_the_picture(tiny):
    tab = tiny.tab
    still = tab.evaluate(PIXELS)
    tab.locator("#yaw").focus()
    tab.keyboard.press("End")
    tab.wait_for_timeout(1500)
    turned = tab.evaluate(PIXELS)
    assert turned != still
    tab.locator("#reset").click()
    tab.wait_for_timeout(1500)
    assert tab.evaluate(PIXELS) == still and tab.locator("#yaw").input_value() == "0"


def test_a_drivers_motion_plays_pauses_and_seeks(tiny):
    tab = tiny.tab
    tab.locator("#play").click()
    tab.wait_for_function("() => Number(document.getElementById('seek').value) > 0.3")
    tab.locator("#play").click()
    at = float(tab.locator("#seek").input_value())
    tab.wait_for_timeout(500)
    assert float(tab.locator("#seek").input_value()) == at and "Play" in tab.locator("#play").inner_text()
    before = tab.evaluate(PIXELS)
    tab.locator("#seek").fill("1.5")
    tab.wait_for_timeout(1500)
    assert tab.evaluate(PIXELS) != before
    tab.locator("#seek").focus()
    tab.keyboard.press("ArrowLeft")
    assert float(tab.locator("#seek").input_value()) == 0.5
    assert tab.locator("#seek").get_attribute("aria-valuetext") == "0:00"
    tab.locator("#reset").click()


def test_no_two_controls_have_the_same_name(tiny):
    names = tiny.tab.evaluate("() => [...document.querySelectorAll('input[type=range]')].map((each) => each.ariaLabel)")
    assert len(names) > 10 and len(set(names)) == len(names)


def test_a_recording_is_a_video_of_the_picture(tiny, tmp_path):
    tab = tiny.tab
    tab.locator("#play").dblclick()  # the sound that was not yet begun comes all the same
    tab.locator("#record").click()
    tab.locator("#play").click()
    tab.wait_for_timeout(2500)
    with tab.expect_download() as download:
        tab.locator("#record").click()
    assert download.value.suggested_filename == "Tiny_synthetic.webm"
    download.value.save_as(tmp_path / "film.webm")
    with av.open(str(tmp_path / "film.webm")) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    with av.open(str(tmp_path / "film.webm")) as film:
        sound = np.concatenate([frame.to_ndarray().mean(0) for frame in film.decode(audio=0)])
    assert len(pictures) > 5 and pictures[0].shape == (512, 512, 3)
    assert 1 < len(sound) / 48000 < 5 and abs(sound).max() > 0.05  # the driver's tone of 0.1
    plate = pictures[-1][475:500, 395:500].astype(int)
    assert plate.max() - plate.min() > 100  # light letters on a dark plate
    tab.locator("#reset").click()


def test_a_motion_that_is_played_while_the_camera_starts_wins(place, playwright):
    with visit(playwright) as tab:
        tab.tab.add_init_script(SLOW_CAMERA)
        tab.open(place["page"].as_uri())
        tab.tab.locator("#watch").click()
        tab.tab.locator("#play").click()
        tab.tab.evaluate("() => allow()")
        tab.tab.wait_for_function("() => track.readyState === 'ended'")
        assert tab.tab.locator("#watch").inner_text() == "Use my camera" and tab.message() == ""
        assert tab.tab.locator("#play").inner_text() == "Pause" and tab.tab.locator("#eye").is_hidden()


def test_a_camera_that_is_unplugged_is_told(place, playwright):
    with visit(playwright) as tab:
        tab.tab.add_init_script(SLOW_CAMERA)
        tab.open(place["page"].as_uri())
        tab.tab.locator("#watch").click()
        tab.tab.evaluate("() => allow()")
        tab.tab.wait_for_selector("#eye:visible", timeout=120_000)
        tab.tab.evaluate("() => track.dispatchEvent(new Event('ended'))")
        assert tab.message() == "The camera is gone." and tab.tab.locator("#eye").is_hidden()
        assert tab.tab.locator("#watch").inner_text() == "Use my camera" and tab.said == []


def test_without_a_camera_the_page_says_so_in_one_line(tiny):
    tiny.tab.locator("#watch").click()
    tiny.tab.wait_for_selector("#message:visible")
    assert tiny.message().startswith("No camera: ")
    tiny.tab.evaluate("() => { document.getElementById('message').hidden = true; }")


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_or_overlaps(place, playwright, width, scheme):
    with visit(playwright, width=width, height=844, color_scheme=scheme) as tab:
        tab.open(place["page"].as_uri())
        assert tab.tab.evaluate("() => document.documentElement.scrollWidth") <= width
        cut = tab.tab.evaluate(
            """() => [...document.querySelectorAll("button, h1, h2, p, select")]
                .filter((each) => each.offsetParent && each.scrollWidth > each.clientWidth + 1)
                .map((each) => each.textContent)"""
        )
        assert cut == []
        assert tab.tab.evaluate(OVERLAPPING) == []


# The demo's portrait, which has learned how a person moves


@pytest.fixture(scope="module")
def demo(playwright):
    with visit(playwright) as tab:
        yield tab.open(DEMO.as_uri())


@pytest.fixture(scope="module")
def tracker(face_mesh_weights) -> FaceTracker:
    return FaceTracker(*face_mesh_weights, torch.device("cpu"))


def read(tracker: FaceTracker, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What the tracker sees in pictures (N, S, S, 3), each value (N,), by the names of the sliders.

    A demo actor's eyes are a few pixels wide: where they look cannot be read.
    """
    mesh = tracker.track(lambda: [pictures]).mesh[:]
    found = mesh_parameters(mesh, np.load(REFERENCE).astype(np.float32), pictures.shape[1])
    mesh = mesh / np.linalg.norm(mesh[:, 33, :2] - mesh[:, 263, :2], axis=1)[:, None, None]
    return {
        "yaw": found["pose"][:, 1],
        "pitch": found["pose"][:, 0],
        "roll": found["pose"][:, 2],
        "jaw": mesh[:, 152, 1] - mesh[:, 1, 1],
        "mouth": mesh[:, 14, 1] - mesh[:, 13, 1],
        "smile": mesh[:, 291, 0] - mesh[:, 61, 0] - mesh[:, [61, 291], 1].mean(1) + mesh[:, [13, 14], 1].mean(1),
        "brows": mesh[:, [33, 263], 1].mean(1) - mesh[:, [105, 334], 1].mean(1),
        "blink": -found["openness"],
        "across": found["position"][:, 0],
        "down": found["position"][:, 1],
        "size": found["position"][:, 2],
    }


@needs_demo
@pytest.mark.parametrize("id", ["yaw", "pitch", "roll", "mouth", "smile", "brows", "blink", "across", "down", "size"])
def test_each_slider_moves_the_picture_its_own_way(demo, tracker, id):
    seen = seen_along(demo, tracker, id)
    assert seen[id][0] > seen[id][1] > seen[id][2], seen[id]


@needs_demo
def test_the_jaw_goes_with_the_mouth(demo, tracker):
    jaw = seen_along(demo, tracker, "mouth")["jaw"]
    assert jaw[0] > jaw[1] > jaw[2], jaw


def seen_along(demo, tracker: FaceTracker, id: str) -> dict[str, np.ndarray]:
    """What the tracker sees in the page's pictures with a slider near its highest, in the middle, and near its lowest:
    each value (3,)."""
    size = demo.tab.evaluate("() => MyPortrait.about.size")
    pictures = [
        demo.tab.evaluate(
            f"""async ([id, part]) => {{
                const {{ about, moved, picture }} = MyPortrait;
                const still = Object.fromEntries(
                    Object.entries(about.neutral).map(([name, list]) => [name, Float32Array.from(list)]));
                const values = about.sliders.map(
                    (each) => each.id === id ? part * (part > 0 ? each.high : -each.low) : 0);
                return ({PACKED})(await picture(moved(still, about.sliders, values)));
            }}""",
            [id, part],
        )
        for part in (0.8, 0.0, -0.8)
    ]
    images = np.stack([unpacked(image, "f4").reshape(3, size, size) for image in pictures]).transpose(0, 2, 3, 1)
    found = read(tracker, np.repeat((images * 255).round().astype(np.uint8), 4, 0))
    return {name: values.reshape(3, 4).mean(1) for name, values in found.items()}


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Path:
    """A camera's film of six seconds: a face that sways."""
    folder, face = tmp_path_factory.mktemp("film"), skimage.data.astronaut()
    for k in range(90):
        turn = cv2.getRotationMatrix2D((225, 120), 14 * np.sin(k / 90 * 2 * np.pi), 1.1)
        picture = cv2.warpAffine(face, turn, (512, 480), borderMode=cv2.BORDER_REPLICATE)
        wide = cv2.copyMakeBorder(picture, 0, 0, 64, 64, cv2.BORDER_REPLICATE)
        cv2.imwrite(str(folder / f"{k:03}.jpg"), wide[..., ::-1])
    run_ffmpeg("-framerate", 15, "-i", folder / "%03d.jpg", "-q:v", 3, "-f", "mjpeg", folder / "film.mjpeg")
    return folder / "film.mjpeg"


@needs_demo
def test_the_camera_drives_the_portrait(playwright, filmed, tracker):
    with visit(playwright, *camera(filmed)) as tab:
        tab.open(DEMO.as_uri())
        tab.tab.locator("#watch").click()
        tab.tab.wait_for_selector("#seen:has-text('follows')", timeout=240_000)
        told = tab.tab.evaluate(
            f"""() => new Promise((done) => {{
                const all = [];
                document.addEventListener("picture", ({{ detail: {{ reading, rgba }} }}) => {{
                    if (reading && all.push([reading.pose[2], ({PACKED})(rgba)]) === 40) done(all);
                }});
            }})"""
        )
        assert tab.said == [] and tab.message() == ""
        tab.tab.locator("#watch").click()
        assert tab.tab.locator("#eye").is_hidden()
    pictures = np.stack([unpacked(rgba, "u1") for _, rgba in told])
    size = round((pictures.shape[1] / 4) ** 0.5)
    roll = read(tracker, pictures.reshape(-1, size, size, 4)[..., :3])["roll"]
    assert np.corrcoef(roll, [roll for roll, _ in told])[0, 1] > 0.7
