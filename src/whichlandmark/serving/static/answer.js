// The card of one photo: answer, confidence, most similar gallery photos, map, feedback.

import { candidateList } from "./candidates.js";
import { announce, button, el, replaceImage, put, svg } from "./dom.js";
import { feedback } from "./feedback.js";
import { mapOf } from "./map.js";
import { percent, seconds, sentence, titled } from "./format.js";
import { openExplanation } from "./explanation.js";

/**
 * Create the card of a photo: {card, dismiss, show}. show(change) displays a new state, as described
 * at recognizePhoto; retry() and cancel() are called by its buttons.
 */
export function answerCard(file, config, { retry, cancel }) {
  const url = URL.createObjectURL(file);
  const photo = photoFigure(file, url);
  const result = el("div", { class: "result" });
  const below = el("div", { class: "below" });
  const card = el(
    "article",
    { class: "answer", "aria-label": `Answer for ${file.name}` },
    photo.figure,
    result,
    below,
  );
  const dismiss = () => {
    cancel();
    URL.revokeObjectURL(url);
    card.remove();
    card.dispatchEvent(new Event("dismissed"));
  };
  const frame = { file, config, url, photo, result, below, card, retry, dismiss, countdown: 0 };
  return { card, dismiss, show: (change) => showState(frame, change) };
}

function photoFigure(file, url) {
  const boxes = svg("svg", {
    class: "boxes",
    viewBox: "0 0 1 1",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  const image = el("img", { alt: `Your photo ${file.name}` });
  image.addEventListener("error", () => replaceImage(image, "no preview in this browser"));
  image.src = url;
  const time = el("span", { class: "small" });
  const figure = el(
    "figure",
    { class: "query" },
    el("div", { class: "frame" }, image, boxes),
    el("figcaption", {}, el("span", { class: "name" }, file.name), time),
  );
  return { figure, boxes, time };
}

function showState(frame, change) {
  clearInterval(frame.countdown);
  frame.card.dataset.state = change.state;
  frame.card.setAttribute("aria-busy", String(["waiting", "recognizing"].includes(change.state)));
  ({ waiting, recognizing, busy, failed, answered })[change.state](frame, change);
}

const waiting = ({ result }) => put(result, el("h3", {}, "Waiting"));
const recognizing = ({ result }) =>
  put(result, el("h3", {}, "Recognizing…"), el("div", { class: "running", "aria-hidden": "true" }));

function busy(frame, { problem, until }) {
  const left = el("p", { class: "lead" });
  const tick = () => {
    left.textContent = `Trying again in ${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s.`;
  };
  tick();
  frame.countdown = setInterval(tick, 500);
  put(
    frame.result,
    el("h3", {}, "The server is busy"),
    left,
    el("p", { class: "small" }, sentence(problem.message)),
    el(
      "div",
      { class: "buttons" },
      button("Try now", frame.retry),
      button("Dismiss", frame.dismiss, { class: "quiet" }),
    ),
  );
  announce(`The server is busy. Trying ${frame.file.name} again in ${problem.wait} seconds.`);
}

const HEADINGS = {
  busy: "The server is still busy",
  key: "An API key is required",
  offline: "You are offline",
  unreachable: "No answer",
  refused: "The server refused the request",
  unfit: "This photo cannot be used",
};

function failed(frame, { problem }) {
  const heading = HEADINGS[problem.kind] ?? "No answer";
  const retry =
    problem.kind === "unfit" ? null : button("Try again", frame.retry, { class: "main" });
  put(
    frame.result,
    el("h3", {}, heading),
    el("p", { class: "lead" }, sentence(problem.message)),
    problem.hint ? el("p", { class: "small" }, sentence(problem.hint)) : null,
    el("div", { class: "buttons" }, retry, button("Dismiss", frame.dismiss, { class: "quiet" })),
  );
  announce(`${frame.file.name}: ${heading}. ${problem.message}`);
  if (problem.kind === "key")
    frame.card.dispatchEvent(new CustomEvent("key-wanted", { bubbles: true, detail: problem }));
}

function answered(frame, { answer, request, ms }) {
  const { result, below, photo, file, config } = frame;
  const words = sentence(answer.words);
  const mapped =
    answer.decision === "no_landmark"
      ? []
      : answer.candidates.slice(0, answer.decision === "landmark" ? 1 : 2);
  photo.time.textContent = ms ? `answered in ${seconds(ms)}` : "";
  drawBoxes(photo.boxes, answer);
  put(
    result,
    el("h3", { class: answer.decision }, words),
    answer.decision === "landmark" ? otherNames(answer.candidates[0]) : null,
    confidenceMeter(answer),
    ...(answer.warnings ?? []).map((warning) => el("p", { class: "warning" }, sentence(warning))),
    el(
      "div",
      { class: "buttons" },
      button("Why?", () => openExplanation(file, frame.url, answer), {
        class: "main",
        "aria-label": `Why? ${words}`,
      }),
      button("Dismiss", frame.dismiss, { class: "quiet", "aria-label": `Dismiss ${file.name}` }),
    ),
    feedback(answer, request, config),
  );
  put(below, ...[candidateList(answer), mapOf(mapped, config.tiles)].filter(Boolean));
  announce(`${file.name}: ${words}. ${confidenceText(answer)}.`);
}

function drawBoxes(boxes, { landmarks = [] }) {
  put(boxes);
  for (const { box } of landmarks) {
    if (!box) continue;
    const [left, top, right, bottom] = box;
    for (const part of ["halo", "line"])
      boxes.append(
        svg("rect", { class: part, x: left, y: top, width: right - left, height: bottom - top }),
      );
  }
}

/** The names of a landmark in other languages. */
export function otherNames(candidate) {
  const names = Object.entries(candidate?.names ?? {}).filter(
    ([, name]) => name !== titled(candidate),
  );
  if (!names.length) return null;
  return el(
    "p",
    { class: "names" },
    names.slice(0, 4).map(([lang, name]) => el("span", { lang, dir: "auto" }, name)),
  );
}

const guessOf = (answer) =>
  answer.candidates.find((c) => c.landmark === answer.guess) ?? answer.candidates[0];

function confidenceText(answer) {
  const guess = guessOf(answer);
  if (!guess) return "No similar photo in the gallery";
  const confidence = `${percent(answer.confidence)} confidence`;
  if (answer.decision === "landmark") return sentence(confidence);
  const name = titled(guess);
  return answer.decision === "uncertain"
    ? sentence(`${confidence} in ${name}`)
    : `Closest landmark: ${name}, ${confidence}`;
}

function confidenceMeter(answer) {
  const now = Math.round(100 * answer.confidence);
  const fill = el("span");
  fill.style.inlineSize = `${now}%`;
  const words = confidenceText(answer);
  return el(
    "div",
    { class: "confidence" },
    el(
      "div",
      {
        class: `meter ${answer.decision}`,
        role: "meter",
        "aria-label": "Confidence",
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": now,
        "aria-valuetext": words,
      },
      fill,
    ),
    el("p", {}, words),
  );
}
