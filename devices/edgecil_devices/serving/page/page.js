// Pictures and camera frames go to /predict, one at a time; the answers come back as bars and times.

export const $ = (id) => document.getElementById(id);
const READABLE = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif"];
const SHOWN = 5;
const LONGEST_SIDE_PX = 1600; // of pictures that have to be saved anew
const LEAST_FRAME_PX = 256;
const PAUSE_MS = 1000;

export let info = null;
export let stream = null; // of the camera, while live
let given = null; // the picture that is shown, as it was sent
let cameras = [];
let latest = 0; // only the answer to the latest picture is shown
let pace = null; // pictures a second, a running mean

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class Refused extends Error {}

export async function fetched(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refused("The server cannot be reached; is edgecil serve still running?");
  }
  if (response.ok) return response;
  const refused = new Refused(await reason(response));
  refused.code = response.status;
  refused.retryMs = 1000 * Number(response.headers.get("Retry-After") ?? 0);
  throw refused;
}

// A proxy between us and the server answers with a page of its own.
async function reason(response) {
  const told = await response.json().catch(() => null);
  if (told?.error) return told.error;
  if (response.status === 413) {
    const most = Math.ceil((info?.max_body_bytes ?? 0) / 1e6);
    return `A proxy before the server refuses this size (413); let it take ${most} MB, for nginx: client_max_body_size ${most}m.`;
  }
  return `A proxy answers in place of the server (${response.status}); is edgecil serve still running?`;
}

const ask = async (path, options) => (await fetched(path, options)).json();

async function classify(blob) {
  const mine = ++latest;
  const start = performance.now();
  try {
    const answer = await ask(`predict?top=${SHOWN}`, { method: "POST", body: blob });
    if (mine === latest) show(answer, performance.now() - start);
  } catch (error) {
    if (mine === latest && !stream) forget("No answer");
    if (mine === latest) complain(error.message);
    return error.retryMs || PAUSE_MS;
  }
  return 0; // how long to wait before the next one
}

// --- what is shown ---------------------------------------------------------------------------

export const percent = (score) => `${(100 * score).toFixed(score < 0.0995 ? 1 : 0)}\u202f%`;
const ms = (value) => `${value.toFixed(value < 9.95 ? 1 : 0)} ms`;

function show(answer, tripMs) {
  const isStrange = ({ label, taught }) => !taught && !info.classes.includes(label);
  // The store has a newer release since; those that nobody numbers are known by their classes.
  if (answer.release !== info.release || answer.top.some(isStrange)) learn().catch(tell);
  $("problem").hidden = true;
  $("result").classList.remove("stale");
  $("label").className = "";
  const isKnown = answer.known !== false;
  named($("label"), isKnown ? answer.label : "unknown", isKnown && answer.top[0].taught);
  $("score").textContent = isKnown ? percent(answer.score) : "";
  answer.top.forEach(({ label, score, taught }, i) => {
    const row = $("top").children[i] ?? $("top").appendChild(newRow());
    named(row.firstChild, label, taught);
    row.lastChild.textContent = percent(score);
    row.style.setProperty("--part", score);
  });
  while ($("top").children.length > answer.top.length) $("top").lastChild.remove();
  document.dispatchEvent(new CustomEvent("answered", { detail: answer }));
  const stages = Object.entries(answer.ms);
  $("times").hidden = false;
  $("device-ms").textContent = ms(stages.reduce((sum, [, part]) => sum + part, 0));
  $("trip-ms").textContent = ms(tripMs);
  $("rate").textContent = pace && stream ? pace.toFixed(pace < 9.95 ? 1 : 0) : "–";
  $("stages").textContent = stages.map(([name, part]) => `${name} ${part.toFixed(1)}`).join(" · ");
}

function newRow() {
  const row = document.createElement("li");
  row.append(document.createElement("span"), document.createElement("span"));
  return row;
}

// What this device was taught is told apart from what the release knows.
function named(element, label, taught) {
  element.textContent = label;
  if (!taught) return;
  const tag = document.createElement("small");
  tag.className = "tag";
  tag.textContent = "taught here";
  element.append(" ", tag);
}

export function complain(message) {
  $("problem").textContent = message;
  $("problem").hidden = false;
  $("result").classList.add("stale");
}

export const tell = (error) => complain(error.message);

function forget(instead) {
  $("problem").hidden = $("times").hidden = true;
  $("result").classList.remove("stale");
  $("label").className = "soft";
  $("label").textContent = instead;
  $("score").textContent = $("stages").textContent = "";
  $("top").replaceChildren();
}

// The network sees the square in the middle of a picture, perhaps without a margin.
function frameSeen() {
  const shown = stream ? $("video") : $("picture");
  const [width, height] = stream
    ? [shown.videoWidth, shown.videoHeight]
    : [shown.naturalWidth, shown.naturalHeight];
  if (!width || shown.hidden) return;
  const stage = $("stage");
  const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  const { image_size_px: size, shorter_side_px: shorter = size } = info.preprocessing;
  const side = Math.min(width, height) * scale * (size / shorter);
  const whole = width === height && size === shorter;
  const seen = $("seen");
  seen.hidden = whole;
  seen.style.width = seen.style.height = `${side}px`;
  seen.style.left = `${(stage.clientWidth - side) / 2}px`;
  seen.style.top = `${(stage.clientHeight - side) / 2}px`;
}

// --- pictures --------------------------------------------------------------------------------

async function take(file) {
  if (!file) return;
  stopCamera();
  forget("Looking …");
  const picture = $("picture");
  URL.revokeObjectURL(picture.src);
  const address = (picture.src = URL.createObjectURL(file));
  picture.alt = file.name ?? "The picture";
  picture.hidden = false;
  $("seen").hidden = true;
  $("stage").classList.remove("empty");
  const isShown = await picture.decode().then(() => true, () => false);
  if (picture.src !== address || stream) return; // something else was chosen meanwhile
  if (isShown) frameSeen();
  else empty();
  const blob = isShown ? await readable(file, picture) : file; // the server says what is wrong
  if (picture.src !== address || stream) return;
  given = blob;
  await classify(blob);
}

// The picture that is before a person now, if there is one.
export const current = async () => (stream ? frame() : given);

export const again = () => (given && !stream ? classify(given) : null);

function empty() {
  given = null;
  $("picture").hidden = $("seen").hidden = true;
  $("stage").classList.add("empty");
}

// Formats that only the browser knows, and pictures above the limits, are saved anew as JPEG.
export async function readable(file, picture, mostBytes = info.max_body_bytes) {
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  const isReadable = READABLE.includes(file.type) && width * height <= info.max_pixels;
  if (isReadable && file.size <= mostBytes) return file;
  const scale = Math.min(1, LONGEST_SIDE_PX / Math.max(width, height));
  return drawn(picture, width * scale, height * scale, 0, 0, width, height);
}

export function drawn(source, width, height, ...part) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.max(1, Math.round(width)), Math.max(1, Math.round(height))];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // behind transparent pixels, as the server has it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, ...part, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

function firstPicture(transfer) {
  const file = [...(transfer?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (!file) complain("That is no picture file; drop or paste a picture itself.");
  return file;
}

// --- the camera ------------------------------------------------------------------------------

const CAMERA_PROBLEMS = {
  NotAllowedError: "The camera is not allowed; allow it for this page in the browser's settings.",
  NotFoundError: "There is no camera here; choose a picture instead.",
  NotReadableError: "The camera is in use by another program; close that first.",
};

let starting = null;

// Whoever asks while it starts waits for that, or one stream would never be stopped.
export const startCamera = (wanted) =>
  (starting ??= cameraStarted(wanted).finally(() => (starting = null)));

async function cameraStarted(wanted = { facingMode: "environment" }) {
  stopCamera();
  $("live").disabled = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    const video = $("video");
    video.srcObject = stream;
    await video.play();
    const devices = await navigator.mediaDevices.enumerateDevices();
    cameras = devices.filter((device) => device.kind === "videoinput");
  } catch (error) {
    stopCamera();
    complain(CAMERA_PROBLEMS[error.name] ?? `The camera cannot be used (${error.message}).`);
    return;
  } finally {
    $("live").disabled = false;
  }
  stream.getVideoTracks()[0].addEventListener("ended", () => {
    stopCamera();
    complain("The camera has gone; plug it in again.");
  });
  $("picture").hidden = true;
  $("video").hidden = $("badge").hidden = false;
  $("stage").classList.remove("empty");
  $("turn").hidden = cameras.length < 2;
  $("live").textContent = "Stop camera";
  $("answer").ariaLive = "off"; // nobody wants thirty labels a second read out
  frameSeen();
  live(stream);
}

function stopCamera() {
  if (!stream) return;
  stream.getTracks().forEach((track) => track.stop());
  stream = pace = null;
  latest++; // an answer that is still under way is of no interest
  $("video").srcObject = null;
  $("video").hidden = $("badge").hidden = $("turn").hidden = true;
  empty();
  $("live").textContent = "Live camera";
  $("answer").ariaLive = "polite";
}

function turn() {
  const current = stream.getVideoTracks()[0].getSettings().deviceId;
  const next = (cameras.findIndex((camera) => camera.deviceId === current) + 1) % cameras.length;
  startCamera({ deviceId: { exact: cameras[next].deviceId } });
}

// What the camera sees, as JPEG; null before its first picture.
export async function frame() {
  const video = $("video");
  const side = Math.min(video.videoWidth, video.videoHeight);
  if (!side) return null;
  const size = Math.min(side, Math.max(LEAST_FRAME_PX, 2 * info.preprocessing.image_size_px));
  const [left, top] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
  return drawn(video, size, size, left, top, side, side);
}

async function live(mine) {
  while (stream === mine) {
    await new Promise(requestAnimationFrame); // which also rests while the page is hidden
    const start = performance.now();
    const seen = stream === mine ? await frame() : null;
    if (stream !== mine) return;
    if (!seen) continue;
    const waitMs = await classify(seen);
    if (waitMs) await sleep(waitMs);
    const perSecond = 1000 / (performance.now() - start);
    pace = pace ? 0.9 * pace + 0.1 * perSecond : perSecond;
  }
}

// --- the beginning ---------------------------------------------------------------------------

function listen() {
  for (const id of ["file", "stage-file", "photo"]) {
    $(id).addEventListener("change", (event) => {
      take(event.target.files[0]);
      event.target.value = ""; // so that the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    if (!event.target.closest?.("input")) take(firstPicture(event.clipboardData)); // else it is text
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault(); // else the browser would open the picture instead of this page
      $("stage").classList.toggle("over", kind === "dragover");
      if (kind === "drop") take(firstPicture(event.dataTransfer));
    });
  }
  $("live").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
  $("turn").addEventListener("click", turn);
  $("video").addEventListener("resize", frameSeen);
  addEventListener("resize", frameSeen);
}

export const many = (count, one, more) => `${count} ${count === 1 ? one : more}`;

async function learn() {
  info = await ask("info");
  const { classes, tasks, release, accuracy, accuracy_classes: covered } = info;
  const { image_size_px: size } = info.preprocessing;
  const about = [
    `${many(classes.length, "class", "classes")} in ${many(tasks.length, "task", "tasks")}`,
    `sees ${size} × ${size} pixels`,
  ];
  const some = covered ? `, which had ${covered} of the classes` : "";
  if (accuracy !== null) about.push(`${accuracy.toFixed(1)} % right in its test${some}`);
  if (release !== null) about.push(`release ${release}`);
  $("name").textContent = document.title = info.name;
  $("about").textContent = about.join(" · ");
  $("tasks").replaceChildren();
  for (const task of tasks) {
    $("tasks").appendChild(document.createElement("li")).textContent = task.join(", ");
  }
}

async function begin() {
  $("curl").textContent = `curl --data-binary @picture.jpg ${new URL("predict", location)}`;
  if (!navigator.mediaDevices) {
    $("live").disabled = true;
    $("hint").hidden = false;
    $("hint").textContent =
      "Browsers give a page the live camera only over https or at localhost. On a phone, take a " +
      `photo. At a desk: ssh -L 8000:localhost:${location.port || 80} ${location.hostname}, ` +
      `then http://localhost:8000${location.pathname}`;
  }
  await learn();
  listen();
  if (info.teaching) (await import("./teach.js")).begin();
}

begin().catch(tell);
