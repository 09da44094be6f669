// The explanation dialog: matched points of photo pairs, parts of the score, similar distractors.

import { Problem, fetchJson, form } from "./api.js";
import { thumb } from "./candidates.js";
import { button, byId, makeClosable, el, put } from "./dom.js";
import { matchView } from "./match_view.js";
import { sentence, titled } from "./format.js";

const PART_TITLES = {
  lead: "Lead over other landmarks",
  company: "Three most similar photos",
  centre: "Average of its photos",
  votes: "Five most similar photos",
  unwhitened: "Similarity before whitening",
  bank: "Similarity to distractors",
  "photo bank": "Its photo's similarity to distractors",
  photos: "Number of photos",
  place: "Like a place",
  inliers: "Matched points",
  "inlier lead": "Lead in matched points",
  "inlier company": "Matched points of all its photos",
  usual: "Starting value",
}; // of the server's names; others are shown as they are

let request = null; // AbortController of the request in progress

export function wireExplanation() {
  makeClosable(byId("why")).addEventListener("close", () => {
    request?.abort();
    put(byId("why-body"));
  });
}

/** Open the dialog for an answered file. url: object URL of the file, which is shown from memory. */
export async function openExplanation(file, url, answer) {
  const body = byId("why-body");
  byId("why-title").textContent = `Why “${sentence(answer.words)}”?`;
  put(
    body,
    el("p", { class: "lead", role: "status" }, "Matching points with the gallery photos…"),
    el("div", { class: "running", "aria-hidden": "true" }),
  );
  if (!byId("why").open) byId("why").showModal();
  byId("why-title").focus();
  request = new AbortController();
  const { signal } = request;
  try {
    const explanation = await fetchJson("v1/explain", {
      method: "POST",
      body: form("photo", [file]),
      signal,
    });
    if (explanation.error) throw new Problem("unfit", explanation.error.message, explanation.error);
    put(body, ...evidenceView(explanation, url, answer));
  } catch (error) {
    if (signal.aborted) return;
    const wait = error.wait ? `Try again in ${error.wait} s.` : error.hint;
    put(
      body,
      el("p", { class: "problem", role: "alert" }, sentence(error.message)),
      wait ? el("p", { class: "small" }, sentence(wait)) : "",
      el(
        "div",
        { class: "buttons" },
        button("Try again", () => openExplanation(file, url, answer), { class: "main" }),
      ),
    );
  }
}

function evidenceView(explanation, url, answer) {
  const titles = Object.fromEntries(answer.candidates.map((c) => [c.landmark, titled(c)]));
  const titleOf = (landmark) =>
    titles[landmark] ?? (landmark ? titled({ landmark }) : "the gallery");
  return [
    pairs(explanation, url, titleOf),
    parts(explanation.parts ?? []),
    distractors(explanation.distractors ?? []),
  ].filter(Boolean);
}

function pairs({ pairs: all = [], query }, url, titleOf) {
  if (!all.length)
    return el(
      "p",
      { class: "lead" },
      "The photo was not compared by matching points: the answer uses the similarity of whole photos.",
    );
  const stage = el("div", { class: "stage" });
  const show = (chosen) => {
    put(stage, matchView(all[chosen], query, url, titleOf(all[chosen].photo.landmark)));
    [...strip.children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === chosen)));
  };
  const strip = el(
    "div",
    { class: "strip", role: "group", "aria-label": "Gallery photos" },
    all.map((pair, i) => chip(pair, i, titleOf, () => show(i))),
  );
  strip.hidden = all.length === 1;
  show(0);
  return el("section", { class: "pairs" }, strip, stage);
}

function chip({ photo, inliers }, i, titleOf, choose) {
  const points = inliers ? `${inliers} points` : "no points";
  return button([el("b", {}, titleOf(photo.landmark)), el("span", {}, points)], choose, {
    class: "chip",
    "aria-label": `Gallery photo ${i + 1}: ${titleOf(photo.landmark)}, ${points}`,
  });
}

function parts(all) {
  if (!all.length) return null;
  const largest = Math.max(...all.map((part) => Math.abs(part.contribution ?? 0)), 1e-9);
  const rows = all.map((part) =>
    el(
      "tr",
      {},
      el(
        "th",
        { scope: "row" },
        PART_TITLES[part.name] ?? sentence(part.name),
        el("span", { class: "small" }, part.text ?? ""),
      ),
      el(
        "td",
        { class: "adds" },
        part.contribution == null ? null : bar(part.contribution / largest),
        el("span", { class: "n" }, partNumber(part)),
      ),
    ),
  );
  const head = el(
    "tr",
    {},
    el("th", { scope: "col" }, "Evidence"),
    el("th", { scope: "col" }, "Adds to the score"),
  );
  const caption = el("caption", {}, "How the score is computed");
  return el(
    "section",
    {},
    el(
      "div",
      { class: "tablebox", tabindex: 0, role: "region", "aria-label": "How the score is computed" },
      el("table", {}, caption, el("thead", {}, head), el("tbody", {}, rows)),
    ),
  );
}

function bar(share) {
  const fill = el("span", { class: share < 0 ? "takes" : "gives" });
  fill.style.inlineSize = `${Math.abs(50 * share)}%`;
  fill.style.insetInlineStart = share < 0 ? `${50 + 50 * share}%` : "50%";
  return el("span", { class: "bar", "aria-hidden": "true" }, fill);
}

const signed = (x) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(2)}`;

/** What a part adds to the score; the score and the confidence themselves without a sign. */
const partNumber = ({ value, contribution }) =>
  contribution == null ? (value?.toFixed(2) ?? "–") : signed(contribution);

function distractors(all) {
  if (!all.length) return null;
  const items = all.map((one) => el("li", {}, thumb(one, "A distractor")));
  return el(
    "section",
    {},
    el("h3", {}, "Most similar distractors"),
    el(
      "p",
      { class: "small" },
      "Gallery photos without a landmark. The more similar they are, the lower the score.",
    ),
    el("ul", { class: "thumbs" }, items),
  );
}
