"""DeepSpeech's logits and AD-NeRF's windows, against a float64 computation written from the published formulas."""

from fractions import Fraction

import numpy as np
import pytest
import resampy

from models.deepspeech import load_deepspeech, mfcc, windows
from models.errors import WeightsError
from tests.test_frozen_graph import around, constant, node, packed, tensor

N = 16  # width of the network under test
CELLS = {direction: f"bidirectional_rnn/{direction}/basic_lstm_cell" for direction in ("fw", "bw")}


def weights(n: int = N) -> dict[str, np.ndarray]:
    """Seeded constants in the published layout; large enough that both ends of the clip at 20 are reached."""
    rng = np.random.default_rng(0)
    shapes = {"h1": (494, n), "h2": (n, n), "h3": (n, 2 * n), "h5": (2 * n, n), "h6": (n, 29)}
    shapes |= {"b1": (n,), "b2": (n,), "b3": (2 * n,), "b5": (n,), "b6": (29,)}
    for cell in CELLS.values():
        shapes |= {f"{cell}/kernel": (3 * n, 4 * n), f"{cell}/bias": (4 * n,)}
    scale = {"h1": 0.4, "h3": 0.5, "h5": 3.0}
    return {name: (rng.normal(size=shape) * scale.get(name, 0.3)).astype(np.float32) for name, shape in shapes.items()}


def graph(constants: dict[str, np.ndarray]) -> bytes:
    """A frozen graph, with the clip and a node between the constants as the real one has them."""
    nodes = b"".join(constant(name, array) + node(f"{name}/read", "Identity") for name, array in constants.items())
    return around(node("Minimum/y", "Const", tensor((), packed([20]))) + nodes)


def reference_mfcc(sound: np.ndarray) -> np.ndarray:
    """python_speech_features' mfcc(sound, 16000, numcep=26) frame by frame, coefficient by coefficient."""
    sound = sound.astype(np.float64)
    emphasised = [sound[0]] + [sound[t] - 0.97 * sound[t - 1] for t in range(1, len(sound))]
    count = 1 if len(sound) <= 400 else 1 + int(np.ceil((len(sound) - 400) / 160))
    emphasised += [0] * ((count - 1) * 160 + 400 - len(sound))
    highest = 2595 * np.log10(1 + 8000 / 700)
    corners = [int(513 * 700 * (10 ** (highest * j / 27 / 2595) - 1) / 16000) for j in range(28)]
    basis = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    cosines = np.cos(np.pi * np.outer(np.arange(26), np.arange(26) + 0.5) / 26) * np.sqrt(2 / 26)
    cosines[0] /= np.sqrt(2)
    frames = []
    for start in range(0, count * 160, 160):
        power = np.abs(basis @ np.array(emphasised[start : start + 400])) ** 2 / 512
        bands = np.zeros(26)
        for j in range(26):
            low, peak, high = corners[j : j + 3]
            for k in range(low, peak):
                bands[j] += power[k] * (k - low) / (peak - low)
            for k in range(peak, high):
                bands[j] += power[k] * (high - k) / (high - peak)
        cepstra = cosines @ np.log(np.where(bands == 0, 2.0**-52, bands))
        cepstra *= 1 + 11 * np.sin(np.pi * np.arange(26) / 22)
        cepstra[0] = np.log(power.sum() or 2.0**-52)
        frames.append(cepstra)
    return np.array(frames)


def reference_logits(sound: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """(T,) int16 at 16 kHz -> (rows, 29)."""
    w = {name: array.astype(np.float64) for name, array in w.items()}
    x = reference_input(sound)
    for layer in "123":
        x = dense(x, w, layer)
    back = reference_lstm(x[::-1], w[f"{CELLS['bw']}/kernel"], w[f"{CELLS['bw']}/bias"])[::-1]
    x = np.concatenate([reference_lstm(x, w[f"{CELLS['fw']}/kernel"], w[f"{CELLS['fw']}/bias"]), back], 1)
    return dense(x, w, "5") @ w["h6"] + w["b6"]


def reference_input(sound: np.ndarray) -> np.ndarray:
    """(rows, 494): nine rows of cepstra before and after, normalised as a whole."""
    kept = reference_mfcc(sound)[::2]
    padded = np.concatenate([np.zeros((9, 26)), kept, np.zeros((9, 26))])
    x = np.array([padded[row : row + 19].reshape(494) for row in range(len(kept))])
    return (x - x.mean()) / x.std()


def dense(x: np.ndarray, w: dict[str, np.ndarray], layer: str) -> np.ndarray:
    return np.minimum(np.maximum(x @ w[f"h{layer}"] + w[f"b{layer}"], 0), 20)


def reference_lstm(rows: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """BasicLSTMCell: gates i, j, f, o; 1 is added to the forget gate at run time."""
    h = c = np.zeros(len(bias) // 4)
    outputs = []
    for row in rows:
        i, j, f, o = np.split(np.concatenate([row, h]) @ kernel + bias, 4)
        c = c * sigmoid(f + 1) + sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * sigmoid(o)
        outputs.append(h)
    return np.array(outputs)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def reference_windows(logits: np.ndarray, frames: int) -> np.ndarray:
    """AD-NeRF's procedure at 25 frames/s, step by step."""
    duration = len(logits) / 50
    times, out = np.arange(len(logits)) / 50, np.arange(round(duration * 50)) / 50
    rows = np.stack([np.interp(out, times, column) for column in logits.T], 1)
    rows = rows[: len(rows) - 1]  # windows of size 1, range(0, len - 1)
    padded = np.concatenate([np.zeros((8, 29)), rows, np.zeros((8, 29))])
    made = [padded[start : start + 16] for start in range(0, len(padded) - 16, 2)]
    return np.array([made[min(frame, len(made) - 1)] for frame in range(frames)])


def voice(seconds: float, rate: int = 16000) -> np.ndarray:
    """(T,) int16: a gliding tone that comes and goes, and hiss."""
    t = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (300 + 200 * np.sin(5 * t)) * t) * (np.sin(9 * t) > -0.3)
    return (9000 * tone + np.random.default_rng(3).normal(0, 200, len(t))).astype(np.int16)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "deepspeech.pb"
    path.write_bytes(graph(weights()))
    return path


@pytest.fixture(scope="module")
def net(path):
    return load_deepspeech(path)


@pytest.mark.parametrize("length", [1, 400, 401, 560, 561, 720, 721, 8000])
def test_cepstra_are_those_of_python_speech_features(length):
    sound = voice(0.5)[:length]
    np.testing.assert_allclose(mfcc(sound), reference_mfcc(sound)[::2], rtol=1e-9, atol=1e-9)


def test_silence_has_finite_cepstra():
    sound = np.concatenate([np.zeros(2000, np.int16), voice(0.2)])
    assert np.isfinite(mfcc(sound)).all()
    np.testing.assert_allclose(mfcc(sound), reference_mfcc(sound)[::2], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "sound", [voice(1.2), voice(0.03), np.zeros(3000, np.int16)], ids=["voice", "short", "silence"]
)
def test_logits_are_those_of_the_graph(net, sound):
    expected = reference_logits(sound, weights())
    logits = net.logits(sound, 16000)
    assert logits.dtype == np.float32
    assert np.ptp(expected) > 5
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-3)


def test_the_layers_under_test_reach_zero_and_twenty():
    """So that the comparison above would see a missing rectifier or clip."""
    x, w = reference_input(voice(1.2)), weights()
    for layer in "123":
        x = dense(x, w, layer)
        assert (x.min(), x.max()) == (0, 20)


def test_a_second_has_fifty_rows(net):
    assert net.logits(voice(1), 16000).shape == (50, 29)


def test_long_sounds_are_computed_in_blocks_without_a_seam(net, monkeypatch):
    sound = voice(2)
    whole = net.logits(sound, 16000)
    monkeypatch.setattr("models.deepspeech.BLOCK", 7)
    np.testing.assert_allclose(net.logits(sound, 16000), whole, atol=1e-4)


def test_the_first_channel_counts(net):
    sound = voice(0.3)
    both = np.stack([sound, voice(0.3)[::-1]], 1)
    np.testing.assert_array_equal(net.logits(both, 16000), net.logits(sound, 16000))


@pytest.mark.parametrize(
    "change",
    [
        lambda sound: sound.astype(np.int32) * 65536,
        lambda sound: sound.astype(np.int64) * 2**48,
        lambda sound: (sound / 32768).astype(np.float32),
        lambda sound: sound / 32768,
    ],
    ids=["int32", "int64", "float32", "float64"],
)
def test_other_sample_formats_give_the_same(net, change):
    sound = voice(0.3)
    np.testing.assert_array_equal(net.logits(change(sound), 16000), net.logits(sound, 16000))


def test_eight_bit_samples_are_unsigned(net):
    sound = (voice(0.3) // 256 * 256).astype(np.int16)
    unsigned = (sound // 256 + 128).astype(np.uint8)
    np.testing.assert_array_equal(net.logits(unsigned, 16000), net.logits(sound, 16000))


def test_samples_are_cut_towards_zero_and_clipped(net):
    cut = np.array([0.9, -0.9, 1.9, -1.9, 40000, -40000] * 100) / 32768
    kept = np.array([0, 0, 1, -1, 32767, -32768] * 100, np.int16)
    np.testing.assert_array_equal(net.logits(cut, 16000), net.logits(kept, 16000))


@pytest.mark.parametrize("rate", [8000, 44100])
def test_other_rates_are_resampled(net, rate):
    sound = voice(0.5, rate)
    resampled = resampy.resample(sound.astype(np.float64), rate, 16000).astype(np.int16)
    np.testing.assert_array_equal(net.logits(sound, rate), net.logits(resampled, 16000))
    assert len(net.logits(sound, rate)) == 25


@pytest.mark.parametrize(
    "samples",
    [np.zeros(0, np.int16), np.zeros((0, 2)), np.array([0, np.nan]), np.array([np.inf]), np.zeros(9, bool), 1.0],
    ids=["none", "no row", "nan", "inf", "bool", "number"],
)
def test_samples_that_are_none_are_refused(net, samples):
    with pytest.raises(ValueError, match="samples"):
        net.logits(samples, 16000)


def test_the_width_is_the_graphs(tmp_path):
    path = tmp_path / "narrow.pb"
    path.write_bytes(graph(weights(5)))
    net = load_deepspeech(path)
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    np.testing.assert_allclose(
        net.logits(voice(0.3), 16000), reference_logits(voice(0.3), weights(5)), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("h3"), r"lacks h3;"),
        (lambda w: w.pop("b1"), r"lacks b1;"),
        (lambda w: w.clear(), r"lacks h1, h2, h3 and 11 more"),
        (lambda w: w.update(h1=w["h1"].T), r"h1 is \(16, 494\), expected \(494, 16\)"),
        (lambda w: w.update(b1=np.float32(1)), r"h1 is \(494, 16\), expected \(494, 1\)"),
        (lambda w: w.update(weights(0)), r"h1 is \(494, 0\), expected \(494, 1\)"),
        (lambda w: w.update(h6=np.ones((N, 30))), r"h6 is \(16, 30\), expected \(16, 29\)"),
        (lambda w: w.update({f"{CELLS['bw']}/kernel": np.ones((4 * N, 3 * N))}), r"bw/basic_lstm_cell/kernel is"),
        (lambda w: w.update(b2=np.full(N, np.nan)), r"not finite"),
    ],
    ids=["lacks h3", "lacks b1", "lacks all", "transposed", "scalar", "empty", "30 characters", "kernel", "nan"],
)
def test_another_networks_graph_is_refused(tmp_path, change, message):
    w = weights()
    change(w)
    path = tmp_path / "other.pb"
    path.write_bytes(graph(w))
    with pytest.raises(WeightsError, match=rf"other\.pb: .*{message}"):
        load_deepspeech(path)


def test_a_truncated_graph_is_refused(path, tmp_path):
    cut = tmp_path / "cut.pb"
    data = path.read_bytes()
    for length in (0, 1000, len(data) // 2, len(data) - 100):
        cut.write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"cut\.pb"):
            load_deepspeech(cut)


@pytest.fixture
def logits():
    return np.random.default_rng(5).normal(size=(60, 29)).astype(np.float32)


@pytest.mark.parametrize("rows", [2, 3, 15, 16, 17, 50, 51])
@pytest.mark.parametrize("fps", [25, 25.0, Fraction(25)])
def test_windows_at_25_fps_are_ad_nerfs(logits, rows, fps):
    made = windows(logits[:rows], fps, 30)
    assert made.shape == (30, 16, 29)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, reference_windows(logits[:rows], 30), atol=1e-6)


@pytest.mark.parametrize("fps", [24, 29.97, Fraction(30000, 1001), 50, 60, 100])
def test_windows_are_centred_on_their_frames(logits, fps):
    for frame, window in enumerate(windows(logits, fps, 20)):
        centre = int(frame * 50 / fps + 0.5)
        expected = [logits[row] if 0 <= row < 59 else np.zeros(29) for row in range(centre - 8, centre + 8)]
        np.testing.assert_array_equal(window, expected)


def test_frames_at_the_same_time_get_the_same_window_at_every_rate(logits):
    slow = windows(logits, 25, 29)
    np.testing.assert_array_equal(windows(logits, 50, 58)[::2], slow)
    np.testing.assert_array_equal(windows(logits, 100, 116)[::4], slow)


@pytest.mark.parametrize(("fps", "last"), [(25, 58), (50, 58), (30, 58), (10, 55), (20, 58)])
def test_frames_after_the_sound_repeat_the_last_window(logits, fps, last):
    """60 rows, of which the last is dropped: c may be 0 to 58."""
    made = windows(logits, fps, 300)
    centre = [round(50 * k / fps + 1e-9) for k in range(300) if round(50 * k / fps + 1e-9) < 59][-1]
    assert centre == last
    np.testing.assert_array_equal(made[-1, 8], logits[last])
    np.testing.assert_array_equal(made[-1], made[round(60 / 50 * fps) + 1])


def test_a_single_row_gives_silence_and_no_frame_no_window(logits):
    assert (windows(logits[:1], 25, 3) == 0).all()
    assert windows(logits, 25, 0).shape == (0, 16, 29)


@pytest.mark.parametrize(
    ("shape", "fps"), [((60, 28), 25), ((0, 29), 25), ((29,), 25), ((60, 29), 0), ((60, 29), -25.0)]
)
def test_impossible_windows_are_refused(shape, fps):
    with pytest.raises(ValueError, match="expected"):
        windows(np.zeros(shape, np.float32), fps, 3)
