// The page: what drives the portrait, and how it is shown.

const $ = (id) => document.getElementById(id);
const about = JSON.parse($("about").textContent);
const VIEW = Math.max(512, about.size); // px, side of the canvas that is shown and recorded
const LEAST_SCORE = 0.5; // of a found face
const PATIENCE = 60_000; // ms, for a graphics card's first picture: one whose driver hangs never answers
const WIDTHS = Object.fromEntries(Object.entries(about.neutral).map(([name, values]) => [name, values.length]));
const floats = (values) => Object.fromEntries(Object.entries(values).map(([name, list]) => [name, Float32Array.from(list)]));
const NEUTRAL = floats(about.neutral);

// --- what is inside this file

async function asset(name) {
  const element = $(`asset-${name}`);
  const bytes = Uint8Array.from(atob(element.textContent.trim()), (letter) => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

// --- one line to the user

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

// --- networks, each in a worker of its own

class Engine {
  constructor() {
    const source = new Blob([$("engine").textContent], { type: "text/javascript" });
    this.worker = new Worker(URL.createObjectURL(source)); // no module: a page opened as a file may not have such
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      error === undefined ? resolve(result) : reject(new Error(error));
    };
    this.worker.onerror = ({ message }) => this.fail(message || "its worker did not start");
  }
  ask(task, value) {
    return new Promise((resolve, reject) => {
      if (this.failure) return reject(this.failure);
      this.waiting.set(++this.count, { resolve, reject });
      this.worker.postMessage({ id: this.count, task, value });
    });
  }
  async open(runtime, threads, models) {
    const provider = runtime === "webgpu" ? "webgpu" : "wasm";
    const [library, wasm] = await Promise.all([asset(`${runtime}-library`), asset(`${runtime}-binary`)]);
    await this.ask("open", { library, wasm, threads, provider, models });
    return this;
  }
  run(model, inputs) {
    return this.ask("run", { model, inputs });
  }
  close(reason) {
    this.worker.terminate();
    this.fail(reason);
  }
  fail(reason) {
    this.failure = new Error(reason);
    for (const { reject } of this.waiting.values()) reject(this.failure);
    this.waiting.clear();
  }
}

const THREADS = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
const BACKENDS = { webgpu: "WebGPU", wasm: `WebAssembly, ${THREADS} thread${THREADS > 1 ? "s" : ""}` };
let portrait; // Engine

/** (3 S S) in [0, 1] of a motion. */
async function picture(motion) {
  const inputs = {};
  for (const name of about.inputs) inputs[name] = { data: motion[name], dims: [1, WIDTHS[name]] };
  return (await portrait.run("portrait", inputs)).image;
}

/** `promise`, or the end of its engine. */
function inTime(promise, engine) {
  const alarm = setTimeout(() => engine.close(`no picture within ${PATIENCE / 1000} s`), PATIENCE);
  return promise.finally(() => clearTimeout(alarm));
}

async function openPortrait(backend) {
  $("speed").textContent = "loading";
  portrait?.close("closed");
  portrait = new Engine();
  const opened = portrait.open(backend, THREADS, { portrait: await asset("portrait") }).then(() => picture(NEUTRAL));
  const first = pixels(await (backend === "webgpu" ? inTime(opened, portrait) : opened));
  const apart = first.reduce((sum, value, i) => sum + Math.abs(value - poster[i]), 0) / first.length;
  if (apart > 2) throw new Error(`its picture is ${apart.toFixed(1)} grey levels from the true one`);
  $("backend").value = backend;
  draw(first);
}

// --- the picture

const small = Object.assign(new OffscreenCanvas(about.size, about.size));
const smallContext = small.getContext("2d", { willReadFrequently: true });
const view = $("view");
view.width = view.height = VIEW;
const context = view.getContext("2d");
let poster; // RGBA of the neutral picture, as the exporter saw it

function pixels(image) {
  const area = about.size * about.size;
  const rgba = new Uint8ClampedArray(4 * area);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = image[c * area + i] * 255; // the array rounds
    rgba[4 * i + 3] = 255;
  }
  return rgba;
}

function draw(rgba) {
  smallContext.putImageData(new ImageData(rgba, about.size, about.size), 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, VIEW, VIEW);
  if (!about.label) return;
  const letter = Math.round(VIEW / 26);
  context.font = `${letter}px system-ui, sans-serif`;
  const wide = context.measureText(about.label).width;
  const [x, y] = [VIEW - wide - letter, VIEW - letter * 0.8];
  context.fillStyle = "rgb(0 0 0 / 60%)";
  context.beginPath();
  context.roundRect(x - letter * 0.45, y - letter * 1.05, wide + letter * 0.9, letter * 1.5, letter * 0.35);
  context.fill();
  context.fillStyle = "#ebebeb";
  context.fillText(about.label, x, y);
}

async function readPoster() {
  const bitmap = await createImageBitmap(new Blob([await asset("poster")], { type: "image/png" }), {
    colorSpaceConversion: "none",
  });
  smallContext.drawImage(bitmap, 0, 0);
  poster = smallContext.getImageData(0, 0, about.size, about.size).data;
  draw(poster);
}

// --- sliders: what is added to whatever drives the portrait

const values = about.sliders.map(() => 0);

function buildSliders() {
  for (const group of [...new Set(about.sliders.map((slider) => slider.group))]) {
    const card = document.createElement("article");
    card.innerHTML = `<h2>${group}</h2>`;
    about.sliders.forEach((slider, k) => {
      if (slider.group !== group) return;
      const row = document.createElement("label");
      row.className = "slider";
      row.innerHTML = `<span>${slider.name}</span><output></output><input type="range">`;
      const input = row.querySelector("input");
      Object.assign(input, { id: slider.id, min: slider.low, max: slider.high, step: (slider.high - slider.low) / 200, value: 0 });
      input.style.setProperty("--zero", `${(-slider.low / (slider.high - slider.low)) * 100}%`);
      const show = () => {
        values[k] = Math.abs(input.value) < (slider.high - slider.low) / 150 ? 0 : Number(input.value);
        const text = Math.round(values[k]);
        row.querySelector("output").textContent = `${text > 0 ? "+" : ""}${text}${slider.unit}`;
        input.style.setProperty("--at", `${((input.value - slider.low) / (slider.high - slider.low)) * 100}%`);
        wake();
      };
      input.oninput = show;
      input.ondblclick = () => { input.value = 0; show(); };
      show();
      card.append(row);
    });
    $("sliders").append(card);
  }
}

function reset() {
  for (const { id } of about.sliders) {
    $(id).value = 0;
    $(id).oninput();
  }
}

// --- recorded motion of the drivers

const drivers = []; // {name, fps, count, motion(frame), own, sound}
const sound = new Audio();
let playing = false;
let started = 0; // ms, of the clock when no sound gives the time
let frameShown = null; // of the driver; null: none is shown

async function readDrivers() {
  const width = Object.values(WIDTHS).reduce((a, b) => a + b);
  for (const [k, driver] of about.drivers.entries()) {
    const table = new Float32Array((await asset(`motion-${k}`)).buffer);
    const motion = (frame) => {
      let place = frame * width;
      return Object.fromEntries(Object.entries(WIDTHS).map(([name, wide]) => [name, table.slice(place, (place += wide))]));
    };
    drivers.push({ ...driver, count: table.length / width, motion, own: floats(driver.own) });
    $("driver").add(new Option(driver.name, k));
  }
  $("play").disabled = $("seek").disabled = !drivers.length;
  if (!drivers.length) $("play-card").hidden = true;
  else await chooseDriver();
}

const driver = () => drivers[$("driver").value];

async function chooseDriver() {
  stopPlaying();
  sound.removeAttribute("src");
  if ($(`asset-sound-${$("driver").value}`)) {
    sound.src = URL.createObjectURL(new Blob([await asset(`sound-${$("driver").value}`)], { type: "audio/mp4" }));
  }
  seek(0, false);
}

const hasSound = () => sound.src && !sound.error;
const seconds = () => (hasSound() ? sound.currentTime : (performance.now() - started) / 1000);

function seek(time, show = true) {
  if (hasSound()) sound.currentTime = time;
  started = performance.now() - time * 1000;
  frameShown = show ? frameAt(time) : null;
  showTime(time);
  wake();
}

const frameAt = (time) => Math.min(driver().count - 1, Math.max(0, Math.floor(time * driver().fps)));

function showTime(time) {
  const length = driver().count / driver().fps;
  $("seek").max = length;
  $("seek").value = time;
  $("time").textContent = `${Math.floor(time / 60)}:${String(Math.floor(time % 60)).padStart(2, "0")}`;
}

async function startPlaying() {
  stopWatching();
  const time = Number($("seek").value);
  playing = true;
  press("play", true, "Pause");
  seek(time >= driver().count / driver().fps - 0.1 ? 0 : time);
  if (hasSound()) await sound.play().catch(() => sound.removeAttribute("src")); // the motion plays on without
  started = performance.now() - Number($("seek").value) * 1000;
  wake();
}

function stopPlaying() {
  playing = false;
  sound.pause();
  press("play", false, "Play");
}

function playedMotion() {
  if (playing) {
    const time = seconds();
    if (time >= driver().count / driver().fps || sound.ended) {
      stopPlaying();
      frameShown = null;
      showTime(0);
      return NEUTRAL;
    }
    frameShown = frameAt(time);
    showTime(time);
  }
  return transferred(driver().motion(frameShown), driver().own, NEUTRAL, about.transfer);
}

// --- the camera: find the face, read it, take it relative to the user's own neutral face

const video = $("camera");
const square = new OffscreenCanvas(about.tracker?.frame ?? 1, about.tracker?.frame ?? 1);
const squareContext = square.getContext("2d", { willReadFrequently: true });
let tracker; // Engine
let watching = false;
let box = null; // where the face was
let user = null; // {neutral: mesh, own: motion, gaze: the last with open eyes, openness}
let seen = []; // landmarks of the pictures that make the neutral face
let followed = null; // {motion: as the target's, reading: what it was made of}

async function startWatching() {
  stopPlaying();
  frameShown = null;
  press("watch", true, "Stop the camera");
  $("watch").disabled = true;
  try {
    if (!navigator.mediaDevices) throw new Error("this browser gives no camera to this page; open it from localhost (make live)");
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: "user" } });
    video.srcObject = stream;
    await video.play();
    if (!tracker) {
      $("seen").textContent = "Loading the tracker…";
      const names = ["find_face", "read_face", "fit_neutral"];
      const models = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await asset(name)])));
      tracker = await new Engine().open("wasm", 1, models);
    }
    say("");
    watching = true;
    $("eye").hidden = false;
    takeNeutral();
    watch();
  } catch (error) {
    const reasons = { NotAllowedError: "it was not allowed", NotFoundError: "there is none", NotReadableError: "another program uses it" };
    say(`No camera: ${reasons[error.name] ?? error.message}.`);
    stopWatching();
  }
  $("watch").disabled = false;
}

function stopWatching() {
  watching = false;
  followed = box = null;
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  $("eye").hidden = $("neutral").disabled = true;
  press("watch", false, "Use my camera");
  $("seen").textContent = "Your pictures are read inside this page and go nowhere.";
  wake();
}

function takeNeutral() {
  user = null;
  seen = [];
  $("neutral").disabled = true;
}

async function watch() {
  while (watching) {
    try {
      const reading = await look();
      if (!watching) return;
      if (reading) await follow(reading);
      else $("seen").textContent = "No face in the picture.";
    } catch (error) {
      say(`The camera's picture could not be read: ${error.message}.`);
      return stopWatching();
    }
    await new Promise(requestAnimationFrame);
  }
}

/** The camera's picture, a square of its middle, (S, S, 4). */
function cameraPicture() {
  const { videoWidth: width, videoHeight: height } = video;
  const side = Math.min(width, height);
  const flip = $("mirror").checked ? -1 : 1;
  squareContext.setTransform(flip, 0, 0, 1, flip < 0 ? square.width : 0, 0);
  squareContext.drawImage(video, (width - side) / 2, (height - side) / 2, side, side, 0, 0, square.width, square.width);
  return new Uint8Array(squareContext.getImageData(0, 0, square.width, square.width).data.buffer);
}

/** What the tracker reads of the camera's picture, or null without a face. */
async function look() {
  const frame = { data: cameraPicture(), dims: [square.width, square.width, 4] };
  if (!box) {
    const found = await tracker.run("find_face", { frame });
    if (found.score[0] < LEAST_SCORE) return null;
    box = found.box;
  }
  const neutral = { data: user?.neutral ?? Float32Array.from(about.tracker.reference), dims: [478, 3] };
  const read = await tracker.run("read_face", { frame, box: { data: box, dims: [1, 4] }, neutral });
  box = read.presence[0] < LEAST_SCORE ? null : read.next_box;
  return box && read;
}

async function follow(reading) {
  if (!user) {
    seen.push(reading.landmarks);
    $("seen").textContent = `Look into the camera with a calm face: ${Math.round((seen.length / about.tracker.frames) * 100)} %`;
    if (seen.length === about.tracker.frames) await fitUser();
    return;
  }
  const motion = Object.fromEntries(Object.keys(WIDTHS).map((name) => [name, reading[name]]));
  const shut = reading.openness[0] < about.tracker.blink * user.openness;
  motion.gaze = user.gaze = shut ? user.gaze : motion.gaze; // shut eyes look nowhere
  followed = { motion: transferred(motion, user.own, NEUTRAL, about.transfer), reading };
  $("seen").textContent = "It follows your face. If it sits wrong, look calm and take your neutral face again.";
  wake();
}

async function fitUser() {
  const landmarks = new Float32Array(seen.length * 478 * 3);
  seen.forEach((points, k) => landmarks.set(points, k * 478 * 3));
  const found = await tracker.run("fit_neutral", { landmarks: { data: landmarks, dims: [seen.length, 478, 3] } });
  const own = { ...found, expression: new Float32Array(WIDTHS.expression) };
  user = { neutral: found.neutral, own, gaze: own.gaze, openness: found.openness[0] };
  $("neutral").disabled = false;
}

// --- the loop: one picture is under way at a time, and another follows while anything moves

let busy = false;
let changed = false;
let ready = false;
const times = []; // ms, when the last pictures came

function wake() {
  changed = true;
  if (ready && !busy) turn();
}

function wanted() {
  const base = followed?.motion ?? (frameShown === null ? NEUTRAL : playedMotion());
  return moved(base, about.sliders, values);
}

async function turn() {
  busy = true;
  while (changed || playing) {
    changed = false;
    const reading = followed?.reading;
    const motion = wanted();
    try {
      const image = await picture(motion);
      const rgba = pixels(image);
      draw(rgba);
      count();
      document.dispatchEvent(new CustomEvent("picture", { detail: { motion, rgba, reading } }));
    } catch (error) {
      if (ready) say(`The picture could not be made: ${error.message}.`);
      break; // or another engine is being opened
    }
    await new Promise(requestAnimationFrame);
  }
  busy = false;
}

function count() {
  const now = performance.now();
  times.push(now);
  while (now - times[0] > 2000) times.shift();
  if (times.length > 2) $("speed").textContent = `${(((times.length - 1) * 1000) / (now - times[0])).toFixed(1)} pictures/s`;
}

// --- recording

let recorder = null;

function record() {
  if (recorder) return recorder.stop();
  const type = ["video/webm;codecs=vp9", "video/webm", "video/mp4"].find((kind) => MediaRecorder.isTypeSupported(kind));
  const parts = [];
  recorder = new MediaRecorder(view.captureStream(30), { mimeType: type, videoBitsPerSecond: 6e6 });
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.onstop = () => {
    recorder = null;
    press("record", false, "Record");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(parts, { type }));
    link.download = `${about.name}_synthetic.${type.includes("webm") ? "webm" : "mp4"}`;
    link.click();
  };
  recorder.start();
  press("record", true, "Stop and save");
  wake();
}

// --- buttons

function press(id, down, text) {
  $(id).setAttribute("aria-pressed", down);
  ($(id).querySelector("span") ?? $(id)).textContent = text;
}

function connect() {
  $("mirror").onchange = () => {
    $("camera").classList.toggle("mirrored", $("mirror").checked);
    takeNeutral(); // a head held askew is askew to the other side now
    box = null;
  };
  $("mirror").onchange();
  $("reset").onclick = () => {
    if (playing) stopPlaying();
    frameShown = null;
    if (drivers.length) showTime(0);
    reset();
  };
  $("play").onclick = () => (playing ? stopPlaying() : startPlaying());
  $("driver").onchange = chooseDriver;
  $("seek").oninput = () => { stopWatching(); seek(Number($("seek").value)); };
  $("watch").onclick = () => (watching ? stopWatching() : startWatching());
  $("neutral").onclick = takeNeutral;
  $("record").onclick = record;
  $("backend").onchange = () => start($("backend").value);
  document.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("button, select, input")) return;
    if (event.key === "r") $("reset").click();
    if (event.key === " ") {
      $("play").click();
      event.preventDefault(); // else the page scrolls
    }
  };
}

/** Open the portrait on the backend that is asked for, or the best one; where that fails, on WebAssembly. */
async function start(asked) {
  ready = false;
  $("backend").disabled = true; // one is opened at a time
  const wish = asked ?? $("backend").options[0].value;
  let reason = "";
  for (const backend of new Set([wish, "wasm"])) {
    try {
      await openPortrait(backend);
      say(backend === wish ? "" : `WebGPU cannot be used here: ${reason}. WebAssembly computes instead.`);
      $("speed").textContent = "ready";
      ready = true;
      break;
    } catch (error) {
      reason = error.message;
    }
  }
  $("backend").disabled = false;
  if (ready) return wake();
  say(`The portrait could not be opened: ${reason}. A current Chrome, Edge, Firefox or Safari will do.`);
  $("speed").textContent = "stopped";
}

async function main() {
  if (!self.WebAssembly || !self.DecompressionStream || !self.OffscreenCanvas)
    return say("This browser lacks what the page needs (WebAssembly, DecompressionStream, OffscreenCanvas). A current Chrome, Edge, Firefox or Safari will do.");
  await readPoster();
  buildSliders();
  connect();
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const software = adapter && (adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  for (const name of adapter ? (software ? ["wasm", "webgpu"] : ["webgpu", "wasm"]) : ["wasm"])
    $("backend").add(new Option(BACKENDS[name], name));
  await start();
  await readDrivers();
  $("record").disabled = !self.MediaRecorder;
  $("watch").disabled = !about.tracker;
  if (!about.tracker) $("camera-card").hidden = true;
  document.documentElement.dataset.ready = "true";
}

self.MyPortrait = { picture, about, transferred, moved }; // for scripts
main().catch((error) => say(`This page is damaged: ${error.message}. Make it again.`));
