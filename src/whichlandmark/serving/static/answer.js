// The card of one photo: the name of the landmark, how sure it is, the photo, and what to do next.

import { candidateList, oddsList, placeLink, townOf } from "./candidates.js";
import { announce, button, el, put, replaceImage, svg } from "./dom.js";
import { feedback } from "./feedback.js";
import { mapOf } from "./map.js";
import { percent, sentence, titled } from "./format.js";
import { t } from "./text.js";
import {
  guessOf,
  headline,
  scoreText,
  sureness,
  surenessMeaning,
  toneOf,
  warningText,
} from "./tone.js";
import { whatNext } from "./what_next.js";

/**
 * The card of an entry: {card, show(), close()}. show() displays the entry's state, as described at
 * recognizePhoto; the buttons call actions {retry, remove, askPart} with the entry. quiet: whether
 * changes are not announced, because the card is one of a list.
 */
export function answerCard(entry, config, actions, quiet = false) {
  const shown = entry.photo ?? entry.file ?? entry.thumbnail; // the last after a reload, at least
  const url = shown ? URL.createObjectURL(shown) : "";
  const photo = photoFigure(entry, url);
  const head = el("div", { class: "head" });
  const rest = el("div", { class: "beside" });
  const below = el("div", { class: "below" });
  const card = el(
    "article",
    { class: "answer", "aria-label": t("answer.card", { name: entry.name }) },
    head,
    photo.figure,
    rest,
    below,
  );
  const say = quiet ? () => {} : announce;
  const frame = { entry, config, actions, quiet, url, photo, head, rest, below, card, say };
  const close = () => {
    clearInterval(frame.countdown);
    URL.revokeObjectURL(url);
    card.remove();
  };
  return { card, close, show: () => showState(frame) };
}

function photoFigure({ name, decoded }, url) {
  const boxes = svg("svg", {
    class: "boxes",
    viewBox: "0 0 1 1",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  const image = el("img", { alt: t("answer.your_photo", { name }), decoding: "async" });
  image.addEventListener("error", () => replaceImage(image, t("answer.no_preview")));
  if (url && decoded !== false) image.src = url;
  else queueMicrotask(() => replaceImage(image, t("answer.no_preview")));
  const figure = el(
    "figure",
    { class: "query" },
    el("div", { class: "frame" }, image, boxes),
    el("figcaption", { class: "name" }, name),
  );
  return { figure, boxes };
}

function showState(frame) {
  const { entry, card } = frame;
  clearInterval(frame.countdown);
  if (frame.shown === "recognizing" && entry.state === "recognizing") return working(frame);
  frame.shown = entry.state;
  if (!frame.quiet) card.dataset.state = entry.state; // in a list its row has it
  card.dataset.tone = entry.answer ? toneOf(entry.answer) : "";
  card.setAttribute("aria-busy", String(["waiting", "recognizing"].includes(entry.state)));
  put(frame.rest);
  put(frame.below);
  ({
    waiting: working,
    recognizing: working,
    busy: busyState,
    failed: failedState,
    stopped: stoppedState,
    answered: answeredState,
  })[entry.state](frame);
}

/** What a photo that is not answered yet waits for. */
export function progressText({ state, photo, share }) {
  if (state === "waiting") return t("answer.waiting");
  if (!photo) return t("answer.preparing");
  if (share < 1) return t("answer.sending", { n: Math.floor(100 * share) });
  return t("answer.looking");
}

function working({ entry, head }) {
  const words = progressText(entry);
  const heading = head.querySelector("h3.working");
  if (heading) heading.textContent = words;
  else
    put(
      head,
      el("h3", { class: "working" }, words),
      el("div", { class: "running", "aria-hidden": "true" }),
    );
}

function busyState(frame) {
  const { entry, head, rest, actions, say } = frame;
  const { problem, until } = entry;
  const left = el("p", { class: "lead" });
  const tick = () => {
    const n = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    left.textContent = t("answer.again_in", { n });
  };
  tick();
  frame.countdown = setInterval(tick, 500);
  put(head, el("h3", {}, t("answer.busy")), left);
  put(
    rest,
    el(
      "div",
      { class: "buttons" },
      button(t("answer.try_now"), () => actions.retry(entry)),
      removeButton(frame),
    ),
  );
  say(t("answer.busy_said", { name: entry.name, n: problem.wait }));
}

const removeButton = ({ entry, actions }) =>
  button(t("next.remove"), () => actions.remove(entry), {
    class: "quiet",
    "aria-label": t("next.remove_named", { name: entry.name }),
  });

const FAILURES = ["busy", "key", "forbidden", "offline", "refused", "unfit"];

/** A short heading for what went wrong with a photo. */
export const failure = ({ kind }) =>
  t(FAILURES.includes(kind) ? `answer.failed_${kind}` : "answer.failed_unreachable");

function failedState(frame) {
  const { entry, head, rest, actions, say } = frame;
  const { problem } = entry;
  const { message, hint } = problem;
  const heading = failure(problem);
  const again = () => actions.retry(entry);
  const same = message === `${heading}.`; // "You are offline" would stand there twice
  put(head, el("h3", {}, heading), same ? null : el("p", { class: "lead" }, sentence(message)));
  put(
    rest,
    hint ? el("p", { class: "small" }, sentence(hint)) : null,
    el(
      "div",
      { class: "buttons" },
      problem.kind === "unfit" ? null : button(t("common.try_again"), again, { class: "main" }),
      removeButton(frame),
    ),
  );
  say(`${entry.name}: ${heading}. ${same ? hint : message}`);
}

function stoppedState(frame) {
  const { entry, head, rest, actions } = frame;
  put(head, el("h3", {}, t("answer.stopped")));
  put(
    rest,
    el(
      "div",
      { class: "buttons" },
      button(t("next.ask_again"), () => actions.retry(entry), { class: "main" }),
      removeButton(frame),
    ),
  );
}

function answeredState(frame) {
  const { entry, head, rest, below, photo, config, say } = frame;
  const { answer } = entry;
  const tone = toneOf(answer);
  const guess = guessOf(answer);
  const words = headline(answer);
  const named = tone === "sure" || tone === "likely";
  const likely = named ? [guess] : tone === "maybe" ? answer.candidates.slice(0, 2) : [];
  const mapped = guess?.latitude == null ? [] : likely; // not the place of a less likely one alone
  drawBoxes(photo.boxes, answer);
  put(
    head,
    el("h3", { class: tone }, words),
    named && guess ? townOf(guess) : null,
    named ? surenessBadge(answer, tone) : null,
  );
  put(
    rest,
    named ? otherNames(guess) : null,
    tone === "maybe" ? oddsList(answer) : null,
    tone === "none" ? el("p", { class: "lead" }, t("answer.none_lead")) : null,
    answerWarnings(answer, config),
    whatNext(frame, { tone, guess }),
    feedback(entry),
  );
  put(
    below,
    tone === "none" ? closest(answer) : candidateList(answer),
    mapOf(mapped, config.tiles, named && guess ? placeLink(guess) : null),
  );
  say(named ? `${words}. ${sureness(answer)}.` : words);
}

/** The confidence in words; opened, it says what the number means. */
function surenessBadge(answer, tone) {
  return el(
    "details",
    { class: `sureness ${tone}` },
    el("summary", {}, el("span", {}, sureness(answer))),
    el("p", { class: "small" }, surenessMeaning(answer)),
  );
}

/** What came closest to a photo of no landmark, with its numbers, folded away. */
function closest(answer) {
  const guess = guessOf(answer);
  const list = candidateList(answer);
  if (!guess || !list) return null;
  const numbers = t("answer.closest_number", {
    name: titled(guess),
    share: percent(answer.confidence),
  });
  const folded = list.querySelector("details");
  folded
    .querySelector("summary")
    .after(el("p", { class: "small" }, [numbers, scoreText(answer)].filter(Boolean).join(" ")));
  return list;
}

/** The warnings of an answer, without those that every answer of this gallery has. */
function answerWarnings({ warnings }, config) {
  const general = config.warnings ?? [];
  return (warnings ?? [])
    .filter((one) => !general.includes(one))
    .map((one) => el("p", { class: "warning" }, warningText(one)));
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
  const shown = titled(candidate);
  const names = Object.entries(candidate?.names ?? {});
  if (candidate.title) names.unshift([null, candidate.title]);
  const others = new Map(names.map(([lang, name]) => [name, lang]));
  others.delete(shown);
  if (!others.size) return null;
  return el(
    "p",
    { class: "names" },
    [...others].slice(0, 4).map(([name, lang]) => el("span", { lang, dir: "auto" }, name)),
  );
}
