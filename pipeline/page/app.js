// The page: what drives the portrait, and how it is shown.

const $ = (id) => document.getElementById(id);
const about = JSON.parse($("about").textContent);
const VIEW = Math.max(512, about.size); // px, side of the canvas that is shown and recorded
const PATIENCE = 60_000; // ms, with a graphics card: one whose driver hangs never answers
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
  constructor(backend) {
    this.backend = backend;
    const source = new Blob([$("engine").textContent], { type: "text/javascript" });
    this.worker = new Worker(URL.createObjectURL(source)); // no module: a page opened as a file may not have such
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject, alarm } = this.waiting.get(id);
      this.waiting.delete(id);
      clearTimeout(alarm);
      error === undefined ? resolve(result) : reject(new Error(error));
    };
    this.worker.onerror = ({ message }) => this.fail(message || "its worker did not start");
  }
  ask(task, value) {
    return new Promise((resolve, reject) => {
      if (this.failure) return reject(this.failure);
      const late = () => this.close(`no answer within ${PATIENCE / 1000} s`);
      const alarm = this.backend === "webgpu" ? setTimeout(late, PATIENCE) : 0;
      this.waiting.set(++this.count, { resolve, reject, alarm });
      this.worker.postMessage({ id: this.count, task, value });
    });
  }
  async open(threads, models) {
    const provider = this.backend;
    const [library, wasm] = await Promise.all([asset(`${provider}-library`), asset(`${provider}-binary`)]);
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
    for (const { reject, alarm } of this.waiting.values()) {
      clearTimeout(alarm);
      reject(this.failure);
    }
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

async function openPortrait(backend) {
  $("speed").textContent = "loading";
  portrait?.close("closed");
  portrait = new Engine(backend);
  await portrait.open(THREADS, { portrait: await asset("portrait") });
  const first = pixels(await picture(NEUTRAL));
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
      row.innerHTML = `<span>${slider.name}</span><output aria-live="off"></output><input type="range" aria-label="${group}: ${slider.name}">`;
      const input = row.querySelector("input");
      Object.assign(input, { id: slider.id, min: slider.low, max: slider.high, step: (slider.high - slider.low) / 200, value: 0 });
      input.style.setProperty("--zero", `${(-slider.low / (slider.high - slider.low)) * 100}%`);
      const show = () => {
        values[k] = Math.abs(input.value) < (slider.high - slider.low) / 150 ? 0 : Number(input.value);
        const number = Math.round(values[k]);
        const text = `${number > 0 ? "+" : ""}${number}${slider.unit}`;
        row.querySelector("output").textContent = text;
        input.setAttribute("aria-valuetext", text);
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

const drivers = []; // {name, fps, count, motion(frame), own, sound: address}
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
    const heard = new Blob([await asset(`sound-${k}`)], { type: "audio/mp4" });
    drivers.push({ ...driver, count: table.length / width, motion, own: floats(driver.own), sound: URL.createObjectURL(heard) });
    $("driver").add(new Option(driver.name, k));
  }
  $("play").disabled = $("seek").disabled = !drivers.length;
  if (!drivers.length) $("play-card").hidden = true;
  else chooseDriver();
}

const driver = () => drivers[$("driver").value];

function chooseDriver() {
  stopPlaying();
  sound.src = driver().sound;
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
  const text = `${Math.floor(time / 60)}:${String(Math.floor(time % 60)).padStart(2, "0")}`;
  $("time").textContent = text;
  $("seek").setAttribute("aria-valuetext", text);
}

async function startPlaying() {
  stopWatching();
  const time = Number($("seek").value);
  playing = true;
  press("play", true, "Pause");
  seek(time >= driver().count / driver().fps - 0.1 ? 0 : time);
  studio?.resume(); // browsers stop it when they like
  if (hasSound()) await sound.play().catch(({ name }) => name === "AbortError" || sound.removeAttribute("src")); // the motion plays on
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
let tracker; // Engine, as a promise
let watching = 0; // number of the camera's session: what belongs to an earlier one has no say; 0: the camera is off
let sessions = 0;
let box = null; // where the face was
let user = null; // {neutral: mesh, own: motion, gaze: the last with open eyes, openness}
let seen = []; // landmarks of the pictures that make the neutral face
let followed = null; // {motion: as the target's, reading: what it was made of}

async function startWatching() {
  stopPlaying();
  frameShown = null;
  press("watch", true, "Stop the camera");
  const mine = (watching = ++sessions);
  const ended = () => watching !== mine;
  try {
    if (!navigator.mediaDevices) throw new Error("this browser gives no camera to this page; open it from localhost (make live)");
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: "user" } });
    if (ended()) return stream.getTracks().forEach((track) => track.stop());
    stream.getVideoTracks()[0].onended = () => ended() || stopWatching() || say("The camera is gone.");
    video.srcObject = stream;
    await video.play();
    tell("Loading the tracker…");
    await (tracker ??= openTracker());
    if (ended()) return;
    say("");
    $("eye").hidden = false;
    takeNeutral();
    watch(ended);
  } catch (error) {
    if (ended()) return;
    const reasons = { NotAllowedError: "it was not allowed", NotFoundError: "there is none", NotReadableError: "another program uses it" };
    say(`No camera: ${reasons[error.name] ?? error.message}.`);
    stopWatching();
  }
}

async function openTracker() {
  const names = ["find_face", "read_face", "fit_neutral"];
  const models = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await asset(name)])));
  return new Engine("wasm").open(1, models);
}

/** What the camera's part of the page is doing; said once, as it is read aloud. */
function tell(text) {
  if ($("seen").textContent !== text) $("seen").textContent = text;
}

function stopWatching() {
  watching = 0;
  followed = box = null;
  seen = [];
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  $("eye").hidden = $("neutral").disabled = true;
  press("watch", false, "Use my camera");
  tell("Your pictures are read inside this page and go nowhere.");
  wake();
}

function takeNeutral() {
  user = null;
  seen = [];
  $("neutral").disabled = true;
}

async function watch(ended) {
  while (!ended()) {
    try {
      const reading = await look(await tracker);
      if (ended()) return;
      if (reading) await follow(reading);
      else tell("No face in the picture.");
    } catch (error) {
      if (ended()) return;
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
async function look(tracker) {
  const frame = { data: cameraPicture(), dims: [square.width, square.width, 4] };
  if (!box) {
    const found = await tracker.run("find_face", { frame });
    if (found.score[0] < about.tracker.score) return null;
    box = found.box;
  }
  const neutral = { data: user?.neutral ?? Float32Array.from(about.tracker.reference), dims: [478, 3] };
  const read = await tracker.run("read_face", { frame, box: { data: box, dims: [1, 4] }, neutral });
  box = read.presence[0] < about.tracker.presence ? null : read.next_box;
  return box && read;
}

async function follow(reading) {
  if (!user) {
    seen.push(reading.landmarks);
    const fifths = Math.floor((5 * seen.length) / about.tracker.frames);
    tell(`Look into the camera with a calm face: ${20 * fifths} %`);
    if (seen.length === about.tracker.frames) await fitUser();
    return;
  }
  const motion = Object.fromEntries(Object.keys(WIDTHS).map((name) => [name, reading[name]]));
  const shut = reading.openness[0] < about.tracker.blink * user.openness;
  motion.gaze = user.gaze = shut ? user.gaze : motion.gaze; // shut eyes look nowhere
  followed = { motion: transferred(motion, user.own, NEUTRAL, about.transfer), reading };
  tell("It follows your face. If it sits wrong, look calm and take your neutral face again.");
  wake();
}

async function fitUser() {
  const calm = seen;
  const landmarks = new Float32Array(calm.length * 478 * 3);
  calm.forEach((points, k) => landmarks.set(points, k * 478 * 3));
  const found = await (await tracker).run("fit_neutral", { landmarks: { data: landmarks, dims: [calm.length, 478, 3] } });
  if (calm !== seen) return; // asked for anew meanwhile
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
    try {
      const motion = wanted();
      const image = await picture(motion);
      const rgba = pixels(image);
      draw(rgba);
      count();
      document.dispatchEvent(new CustomEvent("picture", { detail: { motion, rgba, reading } }));
    } catch (error) {
      if (ready && portrait.backend === "webgpu") start(["wasm"], error.message);
      else if (ready) say(`The picture could not be made: ${error.message}.`);
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

const FILMS = ["video/webm;codecs=vp9,opus", "video/webm", "video/mp4"];
let recorder = null;
let studio = null; // AudioContext: takes the sound apart, for the ear and for the film
let heard = []; // the film's track of it

function openStudio() {
  if (studio || !self.AudioContext) return;
  studio = new AudioContext();
  const source = studio.createMediaElementSource(sound);
  source.connect(studio.destination);
  const branch = studio.createMediaStreamDestination();
  source.connect(branch);
  heard = branch.stream.getTracks();
}

function record() {
  if (recorder) return recorder.stop();
  try {
    openStudio();
    recorder = film();
  } catch (error) {
    return say(`This browser cannot record: ${error.message}.`);
  }
  press("record", true, "Stop and save");
  wake();
}

/** A recorder at work; its film is saved when it stops. */
function film() {
  const shown = view.captureStream(30).getTracks();
  const mimeType = FILMS.find((kind) => MediaRecorder.isTypeSupported(kind));
  const camera = new MediaRecorder(new MediaStream([...shown, ...heard]), { mimeType, videoBitsPerSecond: 6e6 });
  const parts = [];
  camera.ondataavailable = ({ data }) => parts.push(data);
  camera.onstop = () => {
    recorder = null;
    press("record", false, "Record");
    for (const track of shown) track.stop();
    save(new Blob(parts, { type: camera.mimeType }), `${about.name}_synthetic.${camera.mimeType.includes("webm") ? "webm" : "mp4"}`);
  };
  camera.start();
  return camera;
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // once it is surely written
}

// --- buttons

function press(id, down, text) {
  $(id).classList.toggle("on", down);
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
  $("seek").onkeydown = (event) => { // by a second: the slider's own step is finer than a frame
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    stopWatching();
    seek(Math.min(Math.max(Number($("seek").value) + by, 0), Number($("seek").max)));
  };
  $("watch").onclick = () => (watching ? stopWatching() : startWatching());
  $("neutral").onclick = takeNeutral;
  $("record").onclick = record;
  $("backend").onchange = () => start(new Set([$("backend").value, "wasm"]));
  document.onkeydown = (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const on = (kinds) => event.target.closest(kinds);
    if (event.key === "r" && !on("select")) $("reset").click();
    if (event.key === " " && !on("button, select, input[type=checkbox]")) {
      $("play").click();
      event.preventDefault(); // else the page scrolls
    }
  };
}

/** Open the portrait on the first of these backends that works; `reason` is why another one was left. */
async function start(backends, reason = "") {
  ready = false;
  $("backend").disabled = true; // one is opened at a time
  for (const backend of backends) {
    try {
      await openPortrait(backend);
      ready = true;
      break;
    } catch (error) {
      reason = error.message;
    }
  }
  $("backend").disabled = false;
  $("speed").textContent = ready ? "ready" : "stopped";
  if (!ready) return say(`The portrait could not be opened: ${reason}. A current Chrome, Edge, Firefox or Safari will do.`);
  say(reason && `WebGPU cannot be used here: ${reason}. WebAssembly computes instead.`);
  wake();
}

async function main() {
  if (!self.WebAssembly || !self.DecompressionStream || !self.OffscreenCanvas)
    return say("This browser lacks what the page needs (WebAssembly, DecompressionStream, OffscreenCanvas). A current Chrome, Edge, Firefox or Safari will do.");
  await readPoster();
  buildSliders();
  connect();
  const silence = new Promise((done) => setTimeout(done, 5000, null)); // a driver that hangs never answers
  const adapter = await Promise.race([navigator.gpu?.requestAdapter().catch(() => null), silence]);
  const software = adapter && (adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  for (const name of adapter ? (software ? ["wasm", "webgpu"] : ["webgpu", "wasm"]) : ["wasm"])
    $("backend").add(new Option(BACKENDS[name], name));
  await start(new Set([$("backend").options[0].value, "wasm"]));
  await readDrivers();
  $("record").disabled = !self.MediaRecorder;
  $("watch").disabled = !about.tracker;
  if (!about.tracker) $("camera-card").hidden = true;
  document.documentElement.dataset.ready = "true";
}

self.MyPortrait = { picture, about, transferred, moved }; // for scripts
main().catch((error) => say(`This page is damaged: ${error.message}. Make it again.`));
