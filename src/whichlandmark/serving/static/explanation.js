// The explanation dialog: matched points beside references, parts of the score, distractors.

import { Problem, ask, form } from "./api.js";
import { thumb } from "./candidates.js";
import { button, byId, closable, el, put } from "./dom.js";
import { matchView } from "./match_view.js";
import { sentence, titled } from "./format.js";

let request = null;

export function wireExplanation() {
  closable(byId("why")).addEventListener("close", () => {
    request?.abort();
    put(byId("why-body"));
  });
}

/** Open the view for an answered file; url shows the file, which stays in this browser. */
export async function openExplanation(file, url, answer) {
  const body = byId("why-body");
  byId("why-title").textContent = `Why “${sentence(answer.words)}”?`;
  put(
    body,
    el("p", { class: "lead", role: "status" }, "Comparing it point by point…"),
    el("div", { class: "running", "aria-hidden": "true" }),
  );
  if (!byId("why").open) byId("why").showModal();
  byId("why-title").focus();
  request = new AbortController();
  const { signal } = request;
  try {
    const told = await ask("v1/explain", { method: "POST", body: form("photo", [file]), signal });
    if (told.error) throw new Problem("unfit", told.error.message, told.error);
    put(body, ...view(told, url, answer));
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

function view(told, url, answer) {
  const named = Object.fromEntries(answer.candidates.map((c) => [c.landmark, titled(c)]));
  const called = (landmark) => named[landmark] ?? (landmark ? titled({ landmark }) : "the gallery");
  return [
    pairs(told, url, called),
    parts(told.parts ?? []),
    distractors(told.distractors ?? []),
  ].filter(Boolean);
}

function pairs({ pairs: all = [], query }, url, called) {
  if (!all.length)
    return el(
      "p",
      { class: "lead" },
      "No photo of the gallery was compared point by point: the answer rests on the look of the whole photo.",
    );
  const stage = el("div", { class: "stage" });
  const show = (chosen) => {
    put(stage, matchView(all[chosen], query, url, called(all[chosen].photo.landmark)));
    [...strip.children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === chosen)));
  };
  const strip = el(
    "div",
    { class: "strip", role: "group", "aria-label": "Reference photos" },
    all.map((pair, i) => chip(pair, i, called, () => show(i))),
  );
  strip.hidden = all.length === 1;
  show(0);
  return el("section", { class: "pairs" }, strip, stage);
}

function chip({ photo, inliers }, i, called, choose) {
  const points = inliers ? `${inliers} points` : "no points";
  return button([el("b", {}, called(photo.landmark)), el("span", {}, points)], choose, {
    class: "chip",
    "aria-label": `Reference ${i + 1}: ${called(photo.landmark)}, ${points}`,
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
        sentence(part.name),
        el("span", { class: "small" }, part.text ?? ""),
      ),
      el("td", { class: "n" }, shortNumber(part.value)),
      el(
        "td",
        { class: "adds" },
        bar((part.contribution ?? 0) / largest),
        el("span", { class: "n" }, signed(part.contribution)),
      ),
    ),
  );
  const head = el(
    "tr",
    {},
    el("th", { scope: "col" }, "Part"),
    el("th", { scope: "col", class: "n" }, "Value"),
    el("th", { scope: "col" }, "Adds to the score"),
  );
  const caption = el("caption", {}, "What the score is made of");
  return el(
    "section",
    {},
    el(
      "div",
      { class: "tablebox", tabindex: 0, role: "region", "aria-label": "What the score is made of" },
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

const shortNumber = (x) => (typeof x === "number" ? Number(x.toFixed(3)).toString() : (x ?? "–"));
const signed = (x) => (x == null ? "–" : `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(2)}`);

function distractors(all) {
  if (!all.length) return null;
  const items = all.map((one) => el("li", {}, thumb(one, "A photo without a landmark")));
  return el(
    "section",
    {},
    el("h3", {}, "Photos without a landmark that look like it"),
    el("p", { class: "small" }, "The more similar these are, the lower the score."),
    el("ul", { class: "thumbs" }, items),
  );
}
