// Two photos beside each other, whole, with lines between the details that agree; each opens large.

import { showImage } from "./api.js";
import { creditLine } from "./credit_line.js";
import { el, replaceImage, put, svg } from "./dom.js";
import { openLarge } from "./large_view.js";
import { t } from "./text.js";

const GAP = 0.04; // between the photos, in heights (side by side) or widths (stacked)
const MAX_DRAWN = 60; // more lines would hide the photos
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

/** On narrow screens wide photos are stacked; tall ones stay beside each other. */
const isWide = ({ width, height }) => width >= height;

/** Matched point [qx, qy, rx, ry], in shares of each photo → ends of its line in the frame. */
export function lineEnds([qx, qy, rx, ry], { queryBox, referenceBox }) {
  return {
    x1: queryBox[0] + qx * queryBox[2],
    y1: queryBox[1] + qy * queryBox[3],
    x2: referenceBox[0] + rx * referenceBox[2],
    y2: referenceBox[1] + ry * referenceBox[3],
  };
}

/** A photo pair with its lines, what agrees, and the credit. chance: details that agree by chance. */
export function matchView(pair, query, url, name, chance) {
  const words = { name };
  const mine = photoButton(
    t("why.your_photo"),
    t("why.open_yours"),
    (image) => {
      image.addEventListener("error", () => replaceImage(image, t("why.no_preview")));
      image.src = url;
    },
    (image) => (image.src = url),
  );
  const theirs = photoButton(
    t("why.gallery_photo", words),
    t("why.open_gallery", words),
    (image) => showImage(image, `${pair.preview}?side=640`),
    (image) => showImage(image, `${pair.preview}?side=2048`),
    creditLine(pair.photo),
  );
  const lines = svg("svg", { class: "lines", preserveAspectRatio: "none", "aria-hidden": "true" });
  const frame = el("div", { class: "pair" }, mine.node, theirs.node, lines);
  const drawn = pair.lines.slice(0, MAX_DRAWN);
  const narrow = matchMedia(NARROW);
  const draw = () => {
    if (!frame.isConnected && frame.dataset.drawn)
      return narrow.removeEventListener("change", draw);
    frame.dataset.drawn = "yes";
    const [one, other] = [sized(mine.image, query), sized(theirs.image, pair)];
    const plan = layout(one, other, narrow.matches && isWide(one) && isWide(other));
    fit(frame, plan, narrow.matches);
    stroke(lines, drawn, plan);
  };
  narrow.addEventListener("change", draw);
  for (const { image } of [mine, theirs]) image.addEventListener("load", draw);
  draw();
  return el(
    "figure",
    {},
    frame,
    drawn.length ? lineSwitch(lines) : null,
    el(
      "figcaption",
      {},
      el("p", { class: "pair-text" }, pairWords(pair, drawn.length, chance)),
      el("p", { class: "small" }, t("why.gallery_photo", words), " · ", creditLine(pair.photo)),
    ),
  );
}

/** A photo that opens large when it is pressed. show, showLarge: fill an image. */
function photoButton(alt, label, show, showLarge, credits) {
  const image = el("img", { alt });
  const node = el(
    "button",
    {
      type: "button",
      class: "photo",
      "aria-label": label,
      on: { click: () => openLarge(alt, showLarge, credits?.cloneNode(true)) },
    },
    image,
  );
  show(image);
  return { node, image };
}

function pairWords({ inliers, photo, above_chance: many }, drawn, chance) {
  if (photo.inliers == null) return t("why.pair.uncompared");
  if (!inliers) return t("why.pair.none");
  const agree = t("why.agree", { n: inliers });
  if (!many && inliers <= chance) return t("why.pair.few", { agree });
  if (drawn && drawn < inliers) return t("why.pair.drawn", { agree, n: drawn });
  return t("why.pair.many", { n: inliers });
}

function lineSwitch(lines) {
  const input = el("input", { id: "why-lines", type: "checkbox", checked: true });
  input.addEventListener("change", () => lines.toggleAttribute("hidden", !input.checked));
  return el("label", { class: "line-switch" }, input, t("why.lines"));
}

/** The size of a loaded image; until then the size given by the server. */
function sized({ naturalWidth: width, naturalHeight: height }, given) {
  return width && height ? { width, height } : given;
}

function fit(frame, { w, h, queryBox, referenceBox }, narrow) {
  frame.style.aspectRatio = `${w} / ${h}`;
  // So high that both photos are seen whole, on wide screens together with the words above them.
  const high = narrow ? "80vh" : "max(18rem, 100vh - 25rem)";
  frame.style.maxInlineSize = `calc(${high} * ${w / h})`;
  [queryBox, referenceBox].forEach(([left, top, width, height], i) => {
    Object.assign(frame.children[i].style, {
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
