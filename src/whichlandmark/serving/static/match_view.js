// Draw two photos with lines between their matched points, and a slider for the number of lines.

import { showImage } from "./api.js";
import { similarityTexts } from "./candidates.js";
import { el, replaceImage, put, svg } from "./dom.js";
import { counted, credit } from "./format.js";

const MAX_CHANCE_INLIERS = 6; // matched points that unrelated photos can have
const GAP = 0.04; // between the photos, in heights (side by side) or widths (stacked)
const INITIAL_LINES = 40;
const MAX_ROWS = 200; // of the table of matched points
const HUES = 6;
const NARROW = "(max-width: 640px)";

/**
 * The frame {w, h} and the rectangles [left, top, width, height] of the two photos in it: side by side
 * with equal heights, or stacked with equal widths. query, reference: {width, height}.
 */
export function layout(query, reference, stacked) {
  const [a, b] = [query.width / query.height, reference.width / reference.height];
  if (stacked) {
    const [top, low] = [1 / a, 1 / b];
    return {
      w: 1,
      h: top + GAP + low,
      queryBox: [0, 0, 1, top],
      referenceBox: [0, top + GAP, 1, low],
    };
  }
  return { w: a + GAP + b, h: 1, queryBox: [0, 0, a, 1], referenceBox: [a + GAP, 0, b, 1] };
}

/** Matched point [qx, qy, rx, ry], in shares of each photo → ends of its line in the frame. */
export function lineEnds([qx, qy, rx, ry], { queryBox, referenceBox }) {
  return {
    x1: queryBox[0] + qx * queryBox[2],
    y1: queryBox[1] + qy * queryBox[3],
    x2: referenceBox[0] + rx * referenceBox[2],
    y2: referenceBox[1] + ry * referenceBox[3],
  };
}

/** Title, similarity, matched points and credit of the gallery photo. */
const referenceText = ({ photo }, title) =>
  [title, ...similarityTexts(photo), credit(photo)].filter(Boolean).join(" · ");

const chanceWarning = (inliers) =>
  inliers > 0 && inliers <= MAX_CHANCE_INLIERS
    ? el("p", { class: "small" }, "So few points can match by chance.")
    : null;

/** A photo pair with lines, slider, summary, credit and a table of the matched points. */
export function matchView(pair, query, url, title) {
  const queryImage = el("img", { alt: "Your photo" });
  queryImage.addEventListener("error", () =>
    replaceImage(queryImage, "no preview in this browser"),
  );
  queryImage.src = url;
  const referenceImage = el("img", { alt: `Gallery photo: ${title}` });
  showImage(referenceImage, pair.image);
  const lines = svg("svg", { class: "lines", preserveAspectRatio: "none", "aria-hidden": "true" });
  const frame = el("div", { class: "pair" }, queryImage, referenceImage, lines);
  let shown = Math.min(INITIAL_LINES, pair.lines.length);
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
      chanceWarning(pair.inliers),
      el("p", { class: "small" }, referenceText(pair, title)),
      table(pair.lines),
    ),
  );
}

/** The size of a loaded image; until then the size given by the server. */
function sized({ naturalWidth: width, naturalHeight: height }, given) {
  return width && height ? { width, height } : given;
}

function fit(frame, { w, h, queryBox, referenceBox }) {
  frame.style.aspectRatio = `${w} / ${h}`;
  frame.style.maxInlineSize = `calc(66vh * ${w / h})`;
  [
    [frame.children[0], queryBox],
    [frame.children[1], referenceBox],
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
  const ends = pairs.map((pair) => lineEnds(pair, plan));
  const halos = ends.map((at) => svg("line", { ...at, class: "halo" }));
  const strokes = ends.map((at, i) => svg("line", { ...at, class: `hue-${i % HUES}` }));
  const dots = ends.flatMap(({ x1, y1, x2, y2 }, i) => [dot(x1, y1, i), dot(x2, y2, i)]);
  put(lines, ...halos, ...strokes, ...dots);
}

// A line of zero length with round caps, because a circle would be distorted with the frame.
const dot = (x, y, i) => svg("line", { x1: x, y1: y, x2: x, y2: y, class: `dot hue-${i % HUES}` });

let sliders = 0;

function slider(all, start, change) {
  if (all < 2)
    return el("p", { class: "small" }, all ? "One matched point" : "No matched points to draw");
  const id = `strongest-${(sliders += 1)}`;
  const output = el("output", { for: id });
  const input = el("input", { id, type: "range", min: 1, max: all, value: start });
  const update = () => {
    const n = Number(input.value);
    output.textContent = n === all ? `all ${all}` : `${n} of ${all}`;
    input.setAttribute("aria-valuetext", `the strongest ${output.textContent}`);
  };
  input.addEventListener("input", () => {
    update();
    change(Number(input.value));
  });
  update();
  return el(
    "div",
    { class: "slider" },
    el("label", { for: id }, "Strongest matches"),
    input,
    output,
  );
}

function table(lines) {
  if (!lines.length) return null;
  const share = (x) => `${Math.round(100 * x)} %`;
  const rows = lines.slice(0, MAX_ROWS).map((line, i) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, String(i + 1)),
      line.map((x) => el("td", { class: "n" }, share(x))),
    ),
  );
  const heads = [
    "No.",
    "Your photo: from left",
    "from top",
    "Gallery photo: from left",
    "from top",
  ];
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
