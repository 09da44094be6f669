// Draw two photos with lines between matched points, and a slider for how many lines.

import { picture } from "./api.js";
import { alike } from "./candidates.js";
import { el, pictureless, put, svg } from "./dom.js";
import { counted, credit } from "./format.js";

const CHANCE = 6; // matched points that unrelated photos can have
const GAP = 0.04; // between the two pictures, in heights of one
const FIRST = 40; // lines at the start
const ROWS = 200; // of the table at most
const HUES = 6;
const NARROW = "(max-width: 640px)";

/**
 * Where the two pictures stand in a frame of width w and height h, and each line in it.
 * query, reference: {width, height}. Side by side at one height, or stacked at one width.
 */
export function layout(query, reference, stacked) {
  const [a, b] = [query.width / query.height, reference.width / reference.height];
  if (stacked) {
    const [top, low] = [1 / a, 1 / b];
    return { w: 1, h: top + GAP + low, here: [0, 0, 1, top], there: [0, top + GAP, 1, low] };
  }
  return { w: a + GAP + b, h: 1, here: [0, 0, a, 1], there: [a + GAP, 0, b, 1] };
}

/** [qx, qy, rx, ry] in 0–1 of each picture → the line's ends in the frame. */
export function placed([qx, qy, rx, ry], { here, there }) {
  return {
    x1: here[0] + qx * here[2],
    y1: here[1] + qy * here[3],
    x2: there[0] + rx * there[2],
    y2: there[1] + ry * there[3],
  };
}

/** Title, similarity and credit of the reference. */
const referenceWords = ({ photo }, title) =>
  [title, ...alike(photo), credit(photo)].filter(Boolean).join(" · ");

const few = (inliers) =>
  inliers > 0 && inliers <= CHANCE
    ? el("p", { class: "small" }, "So few points can agree by chance.")
    : null;

/** The pair with its lines, its slider, its sentence and its table. */
export function matchView(pair, query, url, title) {
  const queryImage = el("img", { alt: "Your photo" });
  queryImage.addEventListener("error", () => pictureless(queryImage, "no preview in this browser"));
  queryImage.src = url;
  const referenceImage = el("img", { alt: `Reference: ${title}` });
  picture(referenceImage, pair.image);
  const lines = svg("svg", { class: "lines", preserveAspectRatio: "none", "aria-hidden": "true" });
  const frame = el("div", { class: "pair" }, queryImage, referenceImage, lines);
  let shown = Math.min(FIRST, pair.lines.length);
  const narrow = matchMedia(NARROW);
  const draw = () => {
    if (!frame.isConnected && frame.dataset.drawn)
      return narrow.removeEventListener("change", draw);
    frame.dataset.drawn = "yes";
    const plan = layout(sized(queryImage, query), sized(referenceImage, pair), narrow.matches);
    fit(frame, plan);
    stroke(lines, pair.lines.slice(0, shown), plan);
  };
  narrow.addEventListener("change", draw);
  for (const image of [queryImage, referenceImage]) image.addEventListener("load", draw);
  draw();
  const control = slider(pair.lines.length, shown, (n) => {
    shown = n;
    draw();
  });
  return el(
    "figure",
    {},
    frame,
    control,
    el(
      "figcaption",
      {},
      el("p", { class: "pair-text" }, pair.text),
      few(pair.inliers),
      el("p", { class: "small" }, referenceWords(pair, title)),
      table(pair.lines),
    ),
  );
}

/** The size of a loaded picture; before that the size that the server gave. */
function sized({ naturalWidth: width, naturalHeight: height }, told) {
  return width && height ? { width, height } : told;
}

function fit(frame, { w, h, here, there }) {
  frame.style.aspectRatio = `${w} / ${h}`;
  frame.style.maxInlineSize = `calc(66vh * ${w / h})`;
  [
    [frame.children[0], here],
    [frame.children[1], there],
  ].forEach(([image, [left, top, width, height]]) => {
    Object.assign(image.style, {
      left: `${(100 * left) / w}%`,
      top: `${(100 * top) / h}%`,
      width: `${(100 * width) / w}%`,
      height: `${(100 * height) / h}%`,
    });
  });
}

function stroke(lines, pairs, plan) {
  lines.setAttribute("viewBox", `0 0 ${plan.w} ${plan.h}`);
  const ends = pairs.map((pair) => placed(pair, plan));
  const halos = ends.map((at) => svg("line", { ...at, class: "halo" }));
  const strokes = ends.map((at, i) => svg("line", { ...at, class: `hue-${i % HUES}` }));
  const dots = ends.flatMap(({ x1, y1, x2, y2 }, i) => [dot(x1, y1, i), dot(x2, y2, i)]);
  put(lines, ...halos, ...strokes, ...dots);
}

// A line of no length with round ends is a dot of the same size however the frame is stretched.
const dot = (x, y, i) => svg("line", { x1: x, y1: y, x2: x, y2: y, class: `dot hue-${i % HUES}` });

let sliders = 0;

function slider(all, start, change) {
  if (all < 2)
    return el("p", { class: "small" }, all ? "One matched point" : "No matched points to draw");
  const id = `strongest-${(sliders += 1)}`;
  const said = el("output", { for: id });
  const input = el("input", { id, type: "range", min: 1, max: all, value: start });
  const say = () => {
    const n = Number(input.value);
    said.textContent = n === all ? `all ${all}` : `${n} of ${all}`;
    input.setAttribute("aria-valuetext", `the strongest ${said.textContent}`);
  };
  input.addEventListener("input", () => {
    say();
    change(Number(input.value));
  });
  say();
  return el("div", { class: "slider" }, el("label", { for: id }, "Strongest points"), input, said);
}

function table(lines) {
  if (!lines.length) return null;
  const share = (x) => `${Math.round(100 * x)} %`;
  const rows = lines.slice(0, ROWS).map((line, i) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, String(i + 1)),
      line.map((x) => el("td", { class: "n" }, share(x))),
    ),
  );
  const heads = ["No.", "Yours, from left", "from top", "Reference, from left", "from top"];
  const head = el(
    "tr",
    {},
    heads.map((words) => el("th", { scope: "col" }, words)),
  );
  const box = el(
    "div",
    { class: "tablebox", tabindex: 0, role: "region", "aria-label": "Matched points" },
    el("table", {}, el("thead", {}, head), el("tbody", {}, rows)),
  );
  return el(
    "details",
    {},
    el("summary", {}, `${counted(lines.length, "matched point")} as a table`),
    box,
  );
}
