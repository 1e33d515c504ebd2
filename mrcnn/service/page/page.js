"use strict";

const SETTINGS = JSON.parse(document.getElementById("settings").textContent);
// Longest side of the masks that are drawn, in pixels; small images are enlarged up to this factor.
const LONGEST = 1600, MOST_ENLARGED = 4;
// Labels larger than this share of the box of their object are left out.
const MOST_COVERED = 0.6;
const byId = (id) => document.getElementById(id);
const photo = byId("photo"), canvas = byId("masks"), tip = byId("tip");
const slider = byId("threshold"), refine = byId("refine"), fileInput = byId("file");

// The photograph, and what the server found: `plain`, and `refined` from a threshold on.
const state = { file: null, plain: null, refined: null, isDrawn: false, chosen: null, request: null };

// ---- requests -----------------------------------------------------------------------------------

/** Send the photograph to /detect; an error has a sentence to show. */
async function detect(options, signal) {
  const form = new FormData();
  form.append("image", state.file, state.file.name || "photograph");
  const address = "detect?" + new URLSearchParams(options);
  let response;
  try {
    response = await fetch(address, { method: "POST", body: form, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server did not answer. Is it still running?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new Error(sentence(answer.error || `The server answered with status ${response.status}`));
}

function sentence(text) {
  const isName = state.file && text.startsWith(state.file.name);
  const begin = isName ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begin) ? begin : begin + ".";
}

/** Show a photograph and what is found in it. */
async function open(file) {
  showError("");
  if (file.size > SETTINGS.maxBytes) {
    const size = (file.size / 1e6).toFixed(1), limit = SETTINGS.maxBytes / 1e6;
    showError(`The file has ${size} MB; it must have at most ${limit} MB.`);
    return;
  }
  Object.assign(state, { file, plain: null, refined: null, isDrawn: false, chosen: null });
  byId("drop").hidden = true;
  byId("result").hidden = false;
  showObjects();
  const shown = showFile(file);
  const found = await ask({ threshold: SETTINGS.lowest, refine: false });
  if (!found) {
    if (state.file === file) closePhoto();
    return;
  }
  state.plain = prepare(found);
  state.isDrawn = !(await shown);
  if (state.file !== file) return;
  await update();
  byId("status").textContent = `${countText()} found in ${found.seconds.toFixed(1)} seconds`;
}

/** Return the JSON answer; null after an error, which is shown, or if another photograph came. */
async function ask(options) {
  if (state.request) state.request.abort();
  const request = (state.request = new AbortController());
  setBusy(true);
  try {
    return await (await detect(options, request.signal)).json();
  } catch (error) {
    if (error.name !== "AbortError") showError(error.message);
    return null;
  } finally {
    if (state.request === request) {
      state.request = null;
      setBusy(false);
    }
  }
}

/** Show the file itself; resolves to false if the browser cannot decode it. */
function showFile(file) {
  return new Promise((resolve) => {
    const address = URL.createObjectURL(file);
    const done = (isShown) => { URL.revokeObjectURL(address); resolve(isShown); };
    photo.onload = () => { setRatio(photo.naturalWidth / photo.naturalHeight); done(true); };
    photo.onerror = () => done(false);
    photo.src = address;
  });
}

/** Show the server's drawing of an image that the browser cannot decode, such as a TIFF file. */
async function showDrawn() {
  try {
    const response = await detect(pngOptions());
    await showFile(await response.blob());
  } catch (error) {
    showError(error.message);
  }
}

function closePhoto() {
  byId("result").hidden = true;
  byId("drop").hidden = false;
  fileInput.focus();
}

function showError(text) {
  byId("error").textContent = text;
  byId("error").hidden = !text;
  if (text) byId("error").scrollIntoView({ block: "nearest" });
}

function setBusy(isBusy) {
  byId("busy").hidden = !isBusy;
  byId("stage").setAttribute("aria-busy", isBusy);
  for (const id of ["png", "json"]) byId(id).disabled = isBusy;
}

function setRatio(ratio) {
  byId("frame").style.setProperty("--ratio", ratio);
}

// ---- masks --------------------------------------------------------------------------------------

/** Return the lengths in COCO's compressed run lengths. */
function readCounts(text) {
  const counts = [];
  for (let place = 0; place < text.length;) {
    let value = 0, shift = 0, bits;
    do {
      bits = text.charCodeAt(place++) - 48;
      value |= (bits & 31) << shift;
      shift += 5;
    } while (bits & 32);
    if (bits & 16) value |= -1 << shift;
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

/** Return a mask within its box in the pixels of the canvas, `scale` of those of the image. */
function readMask(object, width, height, scale) {
  const [x, y, w, h] = object.bbox;
  const first = (value) => Math.max(0, Math.ceil(value * scale - 0.5));
  const counts = object.segmentation ? readCounts(object.segmentation.counts) : [];
  let x1 = width, y1 = height, x2 = 0, y2 = 0;
  const spans = []; // column, first row and the row after the last one
  for (let run = 1, at = counts[0] || 0; run < counts.length; run += 2) {
    const end = at + counts[run];
    while (at < end) {
      const column = Math.floor(at / height), top = at - column * height;
      const bottom = Math.min(height, top + end - at);
      at += bottom - top;
      if (bottom <= top) continue;
      spans.push(column, top, bottom);
      x1 = Math.min(x1, column); x2 = Math.max(x2, column + 1);
      y1 = Math.min(y1, top); y2 = Math.max(y2, bottom);
    }
    at = end + (counts[run + 1] || 0);
  }
  if (!spans.length) [x1, y1, x2, y2] = [x, y, x + w, y + h];
  const left = first(x1), top = first(y1);
  const mask = { left, top, width: Math.max(1, first(x2) - left), height: Math.max(1, first(y2) - top) };
  mask.inside = new Uint8Array(mask.width * mask.height);
  for (let i = 0; i < spans.length; i += 3) {
    const begin = first(spans[i]) - left, end = first(spans[i] + 1) - left;
    const from = first(spans[i + 1]) - top, to = first(spans[i + 2]) - top;
    for (let column = begin; column < end; column++) {
      for (let row = from; row < to; row++) mask.inside[row * mask.width + column] = 1;
    }
  }
  return mask;
}

/** Add what the page draws to an answer of the server. */
function prepare(found) {
  const longest = Math.max(found.width, found.height);
  found.scale = Math.min(MOST_ENLARGED, LONGEST / longest);
  found.objects.forEach((object) => {
    object.mask = readMask(object, found.width, found.height, found.scale);
  });
  return found;
}

/** Return the mask as an image: filled, with an outline. */
function paint(mask, color, outline) {
  if (mask.painted && mask.color === color) return mask.painted;
  const { width, height, inside } = mask;
  const painted = document.createElement("canvas");
  painted.width = width;
  painted.height = height;
  const pixels = new ImageData(width, height);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const near = Math.max(1, Math.round(outline * 0.7));
  const around = [[outline, 0], [-outline, 0], [0, outline], [0, -outline],
    [near, near], [near, -near], [-near, near], [-near, -near]];
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      if (!inside[at]) continue;
      const isEdge = around.some(([dx, dy]) => {
        const x = column + dx, y = row + dy;
        return x < 0 || y < 0 || x >= width || y >= height || !inside[y * width + x];
      });
      pixels.data.set([red, green, blue, isEdge ? 255 : 115], at * 4);
    }
  }
  painted.getContext("2d").putImageData(pixels, 0, 0);
  return Object.assign(mask, { painted, color }).painted;
}

// ---- what is shown ------------------------------------------------------------------------------

function answer() {
  return refine && refine.checked && state.refined ? state.refined : state.plain;
}

/** Return the objects above the threshold. */
function shownObjects() {
  const found = answer();
  return found ? found.objects.filter((object) => object.score >= slider.value) : [];
}

/** Return the color of each object as `mrcnn detect` chooses it. */
function colorsOf(objects) {
  const classes = objects.map((object) => SETTINGS.classes.indexOf(object.category_name));
  const isOneClass = new Set(classes).size === 1;
  return objects.map((_, i) => {
    const place = isOneClass ? i : Math.max(0, classes[i] - 1);
    return SETTINGS.colors[place % SETTINGS.colors.length];
  });
}

function countText() {
  const count = shownObjects().length;
  return count ? `${count} object${count === 1 ? "" : "s"}` : "No object";
}

function label(object) {
  return `${object.category_name} ${object.score.toFixed(2)}`;
}

/** Draw the masks and list the objects; asks the server for refined masks where they are missing. */
async function update() {
  byId("threshold-value").textContent = Number(slider.value).toFixed(2);
  if (refine && refine.checked && state.plain) {
    if (!state.refined || state.refined.threshold > Number(slider.value) + 1e-9) {
      const file = state.file;
      const refined = await ask({ threshold: slider.value, refine: true });
      if (state.file !== file) return;
      if (refined) state.refined = prepare(refined);
      else if (!state.refined && !state.request) refine.checked = false; // no newer request
    }
  }
  if (state.isDrawn) await showDrawn();
  state.chosen = null;
  showObjects();
}

function showObjects() {
  const objects = shownObjects(), colors = colorsOf(objects);
  tip.hidden = true;
  byId("count").textContent = state.plain ? countText() : "";
  byId("none").hidden = !state.plain || objects.length > 0;
  byId("objects").replaceChildren(...objects.map((object, i) => listEntry(object, colors[i])));
  canvas.setAttribute("aria-label", `Photograph. ${objects.map(label).join(", ") || countText()}`);
  draw();
}

function listEntry(object, color) {
  const entry = document.createElement("li"), button = document.createElement("button");
  const swatch = document.createElement("span"), name = document.createElement("span");
  const score = document.createElement("span");
  button.type = "button";
  swatch.className = "swatch";
  swatch.style.background = color;
  name.textContent = object.category_name;
  score.textContent = object.score.toFixed(2);
  score.className = "score";
  button.append(swatch, name, score);
  for (const event of ["focus", "pointerenter"]) button.addEventListener(event, () => choose(object));
  for (const event of ["blur", "pointerleave"]) button.addEventListener(event, () => choose(null));
  button.addEventListener("click", () => choose(object));
  entry.append(button);
  return entry;
}

/** Emphasize one object, or none. */
function choose(object) {
  if (state.chosen === object) return;
  state.chosen = object;
  const chosen = shownObjects().indexOf(object);
  byId("objects").querySelectorAll("button").forEach((button, i) => {
    button.classList.toggle("chosen", i === chosen);
  });
  draw();
}

function draw() {
  const found = answer(), context = canvas.getContext("2d");
  canvas.width = found ? Math.max(1, Math.round(found.width * found.scale)) : 1;
  canvas.height = found ? Math.max(1, Math.round(found.height * found.scale)) : 1;
  if (!found) return;
  setRatio(found.width / found.height);
  const objects = shownObjects(), colors = colorsOf(objects);
  const perPixel = canvas.width / (canvas.clientWidth || canvas.width);
  const order = objects.map((_, i) => i).sort((a, b) => objects[b].area - objects[a].area);
  for (const i of order) {
    const object = objects[i], isChosen = state.chosen === object;
    if (state.isDrawn && !isChosen) continue; // the image shows it already
    context.globalAlpha = state.chosen && !isChosen ? 0.3 : 1;
    const { left, top } = object.mask;
    context.drawImage(paint(object.mask, colors[i], Math.max(1, Math.round(2 * perPixel))), left, top);
  }
  context.globalAlpha = 1;
  if (!state.isDrawn) drawLabels(context, objects, colors, perPixel);
}

/**
 * Write the labels. One that would cover another, or most of a small object, is left out: pointing
 * at the object shows it.
 */
function drawLabels(context, objects, colors, perPixel) {
  const size = 14 * perPixel, height = 1.5 * size, taken = [];
  context.font = `600 ${size}px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`;
  context.textBaseline = "middle";
  objects.forEach((object, i) => {
    if (state.chosen && state.chosen !== object) return;
    const text = label(object), width = context.measureText(text).width + 0.9 * size;
    const { mask } = object;
    if (!state.chosen && width * height > MOST_COVERED * mask.width * mask.height) return;
    const { left, top } = mask, right = left + mask.width - width;
    const bottom = top + mask.height;
    const places = [[left, top - height], [right, top - height], [left, bottom], [right, bottom],
      [left, top], [right, top], [left, bottom - height]];
    const isFree = ([x, y]) => !taken.some(([x2, y2, width2]) =>
      x < x2 + width2 && x2 < x + width && y < y2 + height && y2 < y + height);
    const place = places.map(([x, y]) => [
      Math.max(0, Math.min(x, canvas.width - width)),
      Math.max(0, Math.min(y, canvas.height - height)),
    ]).find(isFree);
    if (!place) return;
    const [x, y] = place;
    taken.push([x, y, width]);
    context.fillStyle = colors[i];
    context.beginPath();
    context.roundRect(x, y, width, height, 0.3 * size);
    context.fill();
    context.fillStyle = isDark(colors[i]) ? "#ffffff" : "#101216";
    context.fillText(text, x + 0.45 * size, y + height / 2);
  });
}

function isDark(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue < 140;
}

/** Return the smallest object at a point of the page. */
function objectAt(event) {
  const box = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
  const hits = shownObjects().filter(({ mask }) => {
    const column = x - mask.left, row = y - mask.top;
    return column >= 0 && row >= 0 && column < mask.width && row < mask.height
      && mask.inside[row * mask.width + column];
  });
  return hits.sort((a, b) => a.area - b.area)[0] || null;
}

function point(event) {
  const object = objectAt(event);
  choose(object);
  tip.hidden = !object;
  if (!object) return;
  tip.textContent = label(object);
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.left + 14, y = event.clientY - box.top + 16;
  const left = Math.max(0, Math.min(x, box.width - tip.offsetWidth));
  const top = y + tip.offsetHeight > box.height ? y - tip.offsetHeight - 24 : y;
  tip.style.transform = `translate(${left}px, ${Math.max(0, top)}px)`;
}

// ---- downloads ----------------------------------------------------------------------------------

function save(blob, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = (state.file.name || "photograph").replace(/\.[^.]*$/, "") + suffix;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function pngOptions() {
  const isRefined = state.refined !== null && answer() === state.refined;
  return { output: "png", threshold: slider.value, refine: isRefined };
}

function saveJson() {
  const { scale, ...found } = answer();
  found.threshold = Number(slider.value);
  found.objects = shownObjects().map(({ mask, ...object }) => object);
  save(new Blob([JSON.stringify(found, null, 1)], { type: "application/json" }), "_detections.json");
}

async function savePng() {
  showError("");
  byId("png").disabled = true;
  try {
    save(await (await detect(pngOptions())).blob(), "_detected.png");
  } catch (error) {
    showError(error.message);
  }
  byId("png").disabled = false;
}

// ---- events -------------------------------------------------------------------------------------

function openFirst(files) {
  const file = Array.from(files || [])[0];
  if (file) open(file);
}

fileInput.addEventListener("change", () => {
  openFirst(fileInput.files);
  fileInput.value = ""; // so that the same file can be chosen again
});
byId("another").addEventListener("click", () => fileInput.click());
byId("json").addEventListener("click", saveJson);
byId("png").addEventListener("click", savePng);
slider.addEventListener("input", () => {
  byId("threshold-value").textContent = Number(slider.value).toFixed(2);
  state.chosen = null;
  showObjects();
});
slider.addEventListener("change", update);
if (refine) refine.addEventListener("change", update);
for (const type of ["pointermove", "pointerdown"]) canvas.addEventListener(type, point);
canvas.addEventListener("pointerleave", (event) => {
  if (event.pointerType !== "mouse") return; // a finger leaves when it is lifted
  tip.hidden = true;
  choose(null);
});
byId("objects").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const buttons = [...byId("objects").querySelectorAll("button")];
  const next = step && buttons[buttons.indexOf(document.activeElement) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  tip.hidden = true;
  choose(null);
});
document.addEventListener("paste", (event) => openFirst(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  openFirst(event.dataTransfer.files);
});
window.addEventListener("resize", draw);

byId("threshold-value").textContent = Number(slider.value).toFixed(2);
byId("origin").textContent = location.origin + location.pathname.replace(/[^/]*$/, "");
