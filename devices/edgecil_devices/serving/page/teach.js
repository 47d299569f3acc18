// What a person teaches: new classes, corrections, labels for pictures that waited for one.

import {
  $, again, complain, current, fetched, frame, info, many, percent, readable, startCamera, stream,
  tell,
} from "./page.js";

const FRAME_MS = 150;
const MOST_FRAMES = 60; // of one press
const MOST_AT_ONCE = 500; // pictures that a server takes in one step
const MOST_PHOTO_BYTES = 1_000_000; // larger ones are saved anew, so that one step has them all
const NOTABLE = 0.05; // what a new class must take of an old one to be told
const LOOK_MS = 10_000; // between two looks at what was collected

let taught = [];
let recording = null; // the frames of the press that is under way
let chosen = new Set(); // of the collected pictures, by name
let steps = 1; // that the last change was made in, which are undone together
const pictures = new Map(); // addresses of small pictures that were fetched

async function asked(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers;
  try {
    const response = await fetched(path, { ...options, headers });
    $("token-form").hidden = true;
    $("teach-tools").hidden = false;
    return response;
  } catch (error) {
    if (error.code === 401) {
      sessionStorage.removeItem("token");
      $("token-form").hidden = false;
      $("teach-tools").hidden = $("collected").hidden = true;
    }
    throw error;
  }
}

const query = (path, values) => `${path}?${new URLSearchParams(values)}`;
const isOfRelease = (label) => info.classes.includes(label.normalize());

// --- what was taught -------------------------------------------------------------------------

async function changed(path, options) {
  const told = await (await asked(path, options)).json();
  $("problem").hidden = true;
  if (told.taught) showTaught(told);
  if (told.said) $("said").textContent = told.said.join("\n");
  if (told.collected) showCollected(told);
  steps = 1;
  again(); // the picture before us may have another answer now
  return told;
}

function showTaught(told) {
  taught = told.taught;
  $("taught").replaceChildren(...taught.map(taughtRow));
  $("undo").disabled = !told.can_undo;
  $("export").disabled = taught.length === 0;
  const kilobytes = (bytes) => Math.ceil(bytes / 1000).toLocaleString("en");
  const room = `${kilobytes(told.bytes)} of ${kilobytes(told.budget)} kB are taken`;
  $("room").textContent = [taught.length ? room : "", ...told.problems].join("\n").trim();
  const labels = new Set([...taught.map(({ label }) => label), ...info.classes]);
  $("labels").replaceChildren(...[...labels].map((label) => new Option(label)));
  nameButtons();
}

function taughtRow({ label, pictures: count, kind, recognised, takes_from: takes, newest }) {
  const row = document.createElement("li");
  const image = document.createElement("img");
  image.alt = "";
  small(query("taught/picture", { sha256: newest })).then((address) => (image.src = address), tell);
  const about = document.createElement("div");
  about.appendChild(document.createElement("b")).textContent = label;
  const facts = [many(count, "picture", "pictures")];
  if (kind === "correction") facts.push("corrections of a class of the release");
  if (kind === "retired") facts.push("the release knows it now");
  if (recognised !== null) facts.push(`${percent(recognised)} recognised when left out`);
  if (takes && takes[1] >= NOTABLE) facts.push(`may take ${percent(takes[1])} of ${takes[0]}`);
  about.append(facts.join(" · "));
  about.className = "soft";
  const buttons = document.createElement("div");
  buttons.append(
    button("More", `More pictures of ${label}`, () => {
      $("teach-label").value = label;
      nameButtons();
      $("hold").focus();
    }),
    button("Forget", `Forget ${label}`, async () => {
      const told = await changed(query("taught", { label }), { method: "DELETE" });
      const forgot = `Forgot ${many(told.pictures, "picture", "pictures")} of ${label}; Undo brings them back.`;
      $("said").textContent = [forgot, ...(told.said ?? [])].join("\n");
    }),
  );
  row.append(image, about, buttons);
  return row;
}

function button(text, name, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button";
  made.textContent = text;
  made.ariaLabel = name;
  made.addEventListener("click", () => Promise.resolve(action()).catch(tell));
  return made;
}

// Pictures that only those may see who have the token: an <img> cannot send it.
async function small(path) {
  while (!pictures.has(path)) {
    try {
      const blob = await (await asked(path)).blob();
      pictures.set(path, URL.createObjectURL(blob));
    } catch (error) {
      if (!error.retryMs) throw error;
      await new Promise((done) => setTimeout(done, error.retryMs)); // others have their turn first
    }
  }
  return pictures.get(path);
}

// --- teaching --------------------------------------------------------------------------------

function labelIn(id) {
  const label = $(id).value.trim();
  if (label) return label;
  $(id).focus();
  throw new Error("First give it a name.");
}

async function teach(label, blobs) {
  if (!blobs.length) return;
  const values = isOfRelease(label) ? { label, correct: 1 } : { label };
  $("said").textContent = `Learning ${many(blobs.length, "picture", "pictures")} …`;
  let form = new FormData();
  let size = 0;
  let taken = 0;
  const said = [];
  for (const [i, blob] of blobs.entries()) {
    form.append("picture", blob, "picture");
    size += blob.size;
    const next = blobs[i + 1]?.size ?? Infinity;
    const full = (i + 1) % MOST_AT_ONCE === 0 || size + next >= 0.9 * info.max_body_bytes;
    if (!full && i + 1 < blobs.length) continue;
    try {
      said.push(...(await changed(query("taught", values), { method: "POST", body: form })).said);
      steps = ++taken;
    } finally {
      $("said").textContent = said.join("\n"); // where one fails, those before it are learned
    }
    [form, size] = [new FormData(), 0];
  }
}

async function press() {
  if (recording) return;
  const label = labelIn("teach-label");
  const mine = (recording = []);
  $("hold").classList.add("held");
  $("frames").replaceChildren();
  if (!stream) await startCamera();
  while (recording === mine && stream && mine.length < MOST_FRAMES) {
    const seen = await frame();
    if (seen) {
      mine.push(seen);
      const image = $("frames").appendChild(document.createElement("img"));
      image.src = URL.createObjectURL(seen);
      $("hold").textContent = many(mine.length, "picture", "pictures");
    }
    await new Promise((done) => setTimeout(done, FRAME_MS));
  }
  release(mine);
  await teach(label, mine);
}

function release(mine = recording) {
  if (recording !== mine || !mine) return;
  recording = null;
  $("hold").classList.remove("held");
  nameButtons();
}

// A class of the release is corrected, and not taught anew.
function nameButtons() {
  const corrects = isOfRelease($("teach-label").value.trim());
  $("hold").textContent = corrects ? "Hold to correct" : "Hold to record";
  $("teach-this").textContent = corrects ? "Correct this picture" : "This picture";
}

async function decoded(file) {
  if (file.type === "image/jpeg" && file.size <= MOST_PHOTO_BYTES) return file;
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
    return await readable(file, image, MOST_PHOTO_BYTES);
  } catch {
    return file; // the server can read some that browsers cannot, or says what is wrong
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

async function addFiles(files) {
  const label = labelIn("teach-label");
  const blobs = [];
  for (const file of files) blobs.push(await decoded(file)); // one at a time: each is 50 MB decoded
  await teach(label, blobs);
}

async function teachThis() {
  const label = labelIn("teach-label");
  const blob = await current();
  if (!blob) throw new Error("There is no picture yet; choose one or start the camera.");
  await teach(label, [blob]);
}

// Of the likely classes, the one that it really was: one press.
function offerCorrections() {
  for (const row of $("top").children) {
    if (row.querySelector(".right")) continue;
    row.classList.add("teachable");
    row.firstChild.classList.add("name");
    const right = document.createElement("button");
    right.type = "button";
    right.className = "right";
    right.addEventListener("click", async () => {
      const blob = await current();
      if (blob) teach(right.dataset.label, [blob]).catch(tell);
    });
    row.insertBefore(right, row.lastChild);
  }
}

function answered({ detail }) {
  offerCorrections();
  detail.top.forEach(({ label }, i) => {
    const right = $("top").children[i].querySelector(".right");
    right.hidden = Boolean(stream) || i === 0; // answers of a camera change under the finger
    right.dataset.label = label;
    right.textContent = "It is this";
    right.ariaLabel = `Wrong: it is ${label}`;
  });
}

// --- what was collected ----------------------------------------------------------------------

function showCollected({ collected, collected_total: total }) {
  const names = new Set(collected.map(({ name }) => name));
  chosen = new Set([...chosen].filter((name) => names.has(name)));
  const present = new Map([...$("grid").children].map((tile) => [tile.dataset.name, tile]));
  $("grid").replaceChildren(...collected.map((one) => present.get(one.name) ?? tile(one)));
  $("collected").hidden = false;
  $("collected-tools").hidden = total === 0;
  const more = total > collected.length ? `, the first ${collected.length} of them here` : "";
  $("collected-about").textContent = total
    ? `${many(total, "picture waits", "pictures wait")} for a name${more}. Choose those that show the same.`
    : "None wait for a name. Pictures that the classifier is unsure of come here.";
  showChosen();
}

function tile({ name, guess, score }) {
  const made = document.createElement("button");
  made.type = "button";
  made.dataset.name = name;
  const image = made.appendChild(document.createElement("img"));
  image.alt = "";
  small(query("collected/picture", { name })).then((address) => (image.src = address), () => (image.alt = "unreadable"));
  const guessed = guess === null ? name : `${guess} ${percent(score)}`;
  made.appendChild(document.createElement("span")).textContent = made.title = guessed;
  made.addEventListener("click", () => {
    if (!chosen.delete(name)) chosen.add(name);
    showChosen();
  });
  return made;
}

function showChosen() {
  for (const one of $("grid").children) one.ariaPressed = String(chosen.has(one.dataset.name));
  $("discard").disabled = $("label-them").disabled = chosen.size === 0;
  $("label-them").textContent = chosen.size ? `Teach ${many(chosen.size, "picture", "pictures")}` : "Teach them";
}

const ofChosen = () => ({ method: "POST", body: JSON.stringify({ pictures: [...chosen] }) });

async function labelThem() {
  const label = labelIn("collected-label");
  await changed(query("collected", { label }), ofChosen());
}

const look = async () => showCollected(await (await asked("collected")).json());

// --- the beginning ---------------------------------------------------------------------------

function on(id, kind, action) {
  $(id).addEventListener(kind, (event) => Promise.resolve().then(() => action(event)).catch(tell));
}

function listen() {
  on("hold", "pointerdown", (event) => {
    if (event.button !== 0) return;
    $("hold").setPointerCapture(event.pointerId);
    return press();
  });
  for (const kind of ["pointerup", "pointercancel", "blur"]) on("hold", kind, () => release());
  const isKey = (event) => event.key === " " || event.key === "Enter";
  on("hold", "keydown", (event) => (isKey(event) && !event.repeat ? press() : null));
  on("hold", "keyup", (event) => (isKey(event) ? release() : null));
  on("hold", "contextmenu", (event) => event.preventDefault()); // a long press on a phone
  on("teach-label", "input", nameButtons);
  on("teach-files", "change", async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    await addFiles(files);
  });
  $("teach").addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation(); // several pictures of one thing, where the stage takes one
    $("stage").classList.remove("over");
    addFiles(event.dataTransfer.files).catch(tell);
  });
  on("teach-this", "click", teachThis);
  on("undo", "click", async () => {
    const said = ["Undone."];
    for (let left = steps; left; left--) {
      const told = await changed("taught/undo", { method: "POST" });
      said.push(...(told.said ?? []));
    }
    $("said").textContent = said.join("\n");
  });
  on("export", "click", async () => {
    const blob = await (await asked("taught/export")).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "taught.zip";
    link.click();
    $("said").textContent = "At the workstation: edgecil learn RUN --data taught.zip";
  });
  on("choose-all", "click", () => {
    for (const one of $("grid").children) chosen.add(one.dataset.name);
    showChosen();
  });
  on("label-them", "click", labelThem);
  on("discard", "click", () => changed("collected/discard", ofChosen()));
  on("token-form", "submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", $("token").value.trim());
    return start();
  });
  document.addEventListener("answered", answered);
}

async function start() {
  showTaught(await (await asked("taught")).json());
  if (info.teaching.collected) await look();
}

// The printed address has the token behind a #.
function tokenOfAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return false;
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname); // not to be shown, copied or kept
  return true;
}

export function begin() {
  tokenOfAddress();
  addEventListener("hashchange", () => (tokenOfAddress() ? start().catch(tell) : null));
  $("teach").hidden = false;
  $("hold").disabled = !navigator.mediaDevices; // the hint below the camera says why
  listen();
  setInterval(() => {
    if (info.teaching.collected && !document.hidden && $("token-form").hidden) look().catch(() => {});
  }, LOOK_MS);
  return start().catch(tell);
}
