// The dialog in which a part of a photo is chosen: by mouse, touch, arrow keys or sliders.

import { button, el, makeClosable, put } from "./dom.js";
import { jpeg, loadedImage } from "./shrink.js";
import { t } from "./text.js";

const LEAST = 0.05; // smallest side of a part, in shares of the photo's
const STEP = 0.02; // of an arrow key
const SIDE = 1600;
const START = { left: 0.2, top: 0.2, right: 0.8, bottom: 0.8 };
const EDGES = ["left", "right", "top", "bottom"];

/** Let a person choose a part of an entry's photo; resolves to its file, or to null. */
export async function choosePart(entry, config) {
  const image = await loadedImage(entry.original ?? entry.photo).catch(() => null);
  if (!image) return null;
  const part = { ...START };
  const view = partView(image, part);
  const dialog = makeClosable(
    el("dialog", { class: "wide crop", "aria-labelledby": "crop-title" }),
  );
  put(
    dialog,
    el(
      "div",
      { class: "dialog-head" },
      el("h2", { id: "crop-title", tabindex: -1 }, t("next.part_title")),
      el("button", { class: "quiet", type: "button", "data-close": true }, t("common.close")),
    ),
    el(
      "p",
      { class: "small" },
      t("next.part_words"),
      " ",
      el("span", { class: "keys" }, t("next.part_keys")),
    ),
    view.stage,
    el("details", {}, el("summary", {}, t("next.part_edges")), view.sliders),
    el(
      "div",
      { class: "buttons" },
      button(t("next.part_ask"), () => dialog.close("ask"), { class: "main" }),
      button(t("common.cancel"), () => dialog.close(), { class: "quiet" }),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  view.box.focus();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  dialog.remove();
  const file = dialog.returnValue === "ask" ? await cut(image, part, entry, config) : null;
  URL.revokeObjectURL(image.src);
  return file;
}

async function cut(image, { left, top, right, bottom }, entry, config) {
  const { naturalWidth: w, naturalHeight: h } = image;
  const at = {
    left: left * w,
    top: top * h,
    width: (right - left) * w,
    height: (bottom - top) * h,
  };
  const scale = Math.min(1, (config.shrink_side ?? SIDE) / Math.max(at.width, at.height));
  const size = { width: Math.ceil(scale * at.width), height: Math.ceil(scale * at.height) };
  const blob = await jpeg(image, size, 0.92, at);
  const name = t("next.part_name", { name: entry.name.replace(/\.\w{2,5}$/, "") });
  return new File([blob], `${name}.jpg`, { type: "image/jpeg" });
}

/** The photo with the chosen rectangle, and a slider for each edge. */
function partView(image, part) {
  image.alt = "";
  image.draggable = false;
  const corners = ["nw", "ne", "sw", "se"].map((name) => el("span", { class: `corner ${name}` }));
  const box = el(
    "div",
    { class: "part", tabindex: 0, role: "group", "aria-label": t("next.part_label") },
    corners,
  );
  const stage = el("div", { class: "crop-stage" }, image, box);
  const inputs = {};
  const rows = EDGES.map((edge) => {
    const id = `crop-${edge}`;
    inputs[edge] = el("input", { id, type: "range", min: 0, max: 100 });
    inputs[edge].addEventListener("input", () => {
      part[edge] = Number(inputs[edge].value) / 100;
      apart(part, edge);
      draw();
    });
    return [el("label", { for: id }, t(`next.part_${edge}`)), inputs[edge]];
  });
  const draw = () => {
    const { left, top, right, bottom } = part;
    box.style.left = `${100 * left}%`;
    box.style.top = `${100 * top}%`;
    box.style.width = `${100 * (right - left)}%`;
    box.style.height = `${100 * (bottom - top)}%`;
    for (const edge of EDGES) inputs[edge].value = Math.round(100 * part[edge]);
  };
  box.addEventListener("keydown", (event) => {
    if (!byKey(part, event)) return;
    event.preventDefault();
    draw();
  });
  stage.addEventListener("pointerdown", (event) => drag(event, stage, part, draw));
  draw();
  return { stage, box, sliders: el("div", { class: "edges" }, rows.flat()) };
}

/** Keep the edges in the photo and apart; `edge` is the one that moved. */
function apart(part, edge) {
  const clamp = (x, least, most) => Math.min(most, Math.max(least, x));
  if (edge === "left") part.left = clamp(part.left, 0, part.right - LEAST);
  if (edge === "right") part.right = clamp(part.right, part.left + LEAST, 1);
  if (edge === "top") part.top = clamp(part.top, 0, part.bottom - LEAST);
  if (edge === "bottom") part.bottom = clamp(part.bottom, part.top + LEAST, 1);
}

function moveBy(part, x, y) {
  const dx = Math.min(1 - part.right, Math.max(-part.left, x));
  const dy = Math.min(1 - part.bottom, Math.max(-part.top, y));
  Object.assign(part, {
    left: part.left + dx,
    right: part.right + dx,
    top: part.top + dy,
    bottom: part.bottom + dy,
  });
}

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Arrow keys move the part; with Shift they move its right and lower edges. */
function byKey(part, { key: name, shiftKey }) {
  const step = KEYS[name];
  if (!step) return false;
  const [x, y] = step.map((one) => one * STEP);
  if (!shiftKey) moveBy(part, x, y);
  else {
    part.right += x;
    part.bottom += y;
    apart(part, "right");
    apart(part, "bottom");
  }
  return true;
}

/** Draw a new part, move it, or move one of its corners, depending on where the drag begins. */
function drag(event, stage, part, draw) {
  const frame = stage.querySelector("img").getBoundingClientRect();
  const at = ({ clientX, clientY }) => [
    Math.min(1, Math.max(0, (clientX - frame.left) / frame.width)),
    Math.min(1, Math.max(0, (clientY - frame.top) / frame.height)),
  ];
  const [x0, y0] = at(event);
  const start = { ...part };
  const corner = event.target.classList?.contains("corner") && event.target.classList[1];
  const inside = event.target.classList?.contains("part");
  const follow = (now) => {
    const [x, y] = at(now);
    if (inside) {
      Object.assign(part, start);
      moveBy(part, x - x0, y - y0);
    } else {
      const fixedX = corner ? (corner.includes("w") ? start.right : start.left) : x0;
      const fixedY = corner ? (corner.includes("n") ? start.bottom : start.top) : y0;
      Object.assign(part, spanned(fixedX, x, fixedY, y));
    }
    draw();
  };
  const ended = new AbortController();
  const { signal } = ended;
  const stop = () => {
    ended.abort();
    if (part.right - part.left < LEAST || part.bottom - part.top < LEAST) {
      Object.assign(part, start); // a click, not a drag
      draw();
    }
  };
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
  stage.addEventListener("pointermove", follow, { signal });
  stage.addEventListener("pointerup", stop, { signal });
  stage.addEventListener("pointercancel", stop, { signal });
}

const spanned = (x0, x1, y0, y1) => ({
  left: Math.min(x0, x1),
  right: Math.max(x0, x1),
  top: Math.min(y0, y1),
  bottom: Math.max(y0, y1),
});
