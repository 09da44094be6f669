// The explanation dialog: why this answer, in two sentences; the photos compared; the numbers.

import { asProblem, fetchJson, form, showImage } from "./api.js";
import { thumb } from "./candidates.js";
import { button, byId, el, makeClosable, put } from "./dom.js";
import { percent, readerLanguage, sentence, titled } from "./format.js";
import { withKey } from "./key.js";
import { matchView } from "./match_view.js";
import { numberText, t } from "./text.js";
import { toneOf } from "./tone.js";

const PROBABLE_FROM = 0.5;
const SAME_CONFIDENCE = 0.005; // larger differences from the answer are told
const TWO_DIGITS = { minimumFractionDigits: 2, maximumFractionDigits: 2 };

let whyRequest = null; // AbortController of the request in progress

export function wireExplanation() {
  makeClosable(byId("why")).addEventListener("close", () => {
    whyRequest?.abort();
    put(byId("why-body"));
  });
}

/**
 * Open the dialog for an answered photo. file: the photo as a File or Blob; url: its object URL,
 * from which it is shown; answer: of the server.
 */
export async function openExplanation(file, url, answer) {
  const body = byId("why-body");
  const nameOf = whyNames(answer);
  byId("why-title").textContent = whyTitle(answer, nameOf);
  put(
    body,
    el("p", { class: "lead", role: "status" }, t("why.wait")),
    el("div", { class: "running", "aria-hidden": "true" }),
  );
  if (!byId("why").open) byId("why").showModal();
  byId("why-title").focus();
  whyRequest?.abort();
  whyRequest = new AbortController();
  const { signal } = whyRequest;
  try {
    const path = `v1/explain?lang=${encodeURIComponent(readerLanguage())}`;
    const request = () => ({ method: "POST", body: form("photo", [file]), signal });
    const reply = await withKey(() => fetchJson(path, request()));
    byId("why-title").textContent = whyTitle(reply.answer, whyNames(reply.answer));
    put(body, ...whyView(reply, url, answer));
  } catch (error) {
    if (signal.aborted) return;
    const told = asProblem(error);
    const wait = told.wait ? t("why.wait_seconds", { n: told.wait }) : told.hint;
    put(
      body,
      el("p", { class: "problem", role: "alert" }, sentence(told.message)),
      wait ? el("p", { class: "small" }, sentence(wait)) : null,
      el(
        "div",
        { class: "buttons" },
        button(t("common.try_again"), () => openExplanation(file, url, answer), { class: "main" }),
      ),
    );
  }
}

/** Label → name in the reader's language, of the landmarks of an answer and of others. */
function whyNames({ candidates = [] }) {
  const names = Object.fromEntries(candidates.map((one) => [one.landmark, titled(one)]));
  return (landmark) => names[landmark] ?? titled({ landmark });
}

export function whyTitle({ decision, guess }, nameOf) {
  if (!guess || decision === "no_landmark") return t("why.title.no_landmark");
  return t(`why.title.${decision}`, { name: nameOf(guess) });
}

function whyView(reply, url, given) {
  const nameOf = whyNames(reply.answer);
  const now = reply.answer;
  const changed =
    now.guess !== given.guess ||
    now.decision !== given.decision ||
    Math.abs(now.confidence - given.confidence) > SAME_CONFIDENCE;
  return [
    el("p", { class: "why-words" }, whySentences(reply, nameOf)),
    whyFacts(now, nameOf),
    changed ? el("p", { class: "small" }, t("why.changed")) : null,
    whyPairs(reply, url, nameOf),
    whyNumbers(reply),
  ];
}

/** Why this answer, in two sentences that are no surer than it; the server has the same in English. */
export function whySentences({ answer, reasons }, nameOf) {
  if (reasons.nothing) return t(`why.nothing.${reasons.nothing}`);
  if (!answer.guess) return t("why.empty");
  const names = {
    name: nameOf(answer.guess),
    other: reasons.other ? nameOf(reasons.other) : t("why.another"),
  };
  const level = detailLevel(reasons.details, reasons.chance);
  const agree = t("why.agree", { n: reasons.details ?? 0 });
  if (answer.decision === "no_landmark") {
    const closest = t(`why.closest.${level}`, { ...names, agree });
    return `${t("why.none")} ${reasons.unlike ? t("why.unlike") : closest}`;
  }
  if (answer.decision === "uncertain") {
    const both = ["close", "behind"].includes(reasons.contrast);
    const looks = t(both ? "why.maybe.two" : "why.maybe.one", names);
    return `${looks} ${whyDetails(reasons, level, agree, names, "")}`;
  }
  return `${looksLike(answer, reasons, names)} ${whyDetails(reasons, level, agree, names, "_whole")}`;
}

/** many, few, none or uncompared. chance: as many details agree by chance. */
function detailLevel(details, chance) {
  if (details == null) return "uncompared";
  if (!details) return "none";
  return details > chance ? "many" : "few";
}

function looksLike(answer, { alike, contrast }, names) {
  const sure = toneOf(answer) === "sure";
  const tone = sure ? "sure" : answer.confidence >= PROBABLE_FROM ? "probably" : "perhaps";
  if (!alike) return t(`why.even.${tone}`, names);
  const told = contrast === "far" && !sure ? "less" : contrast;
  return t(`why.looks.${tone}`, {
    ...names,
    photos: t("why.photos", { n: Math.min(alike, 4) }), // so many are shown
    contrast: told ? t(`why.contrast.${told}`, names) : "",
  });
}

function whyDetails({ other_details: others, chance }, level, agree, names, whole) {
  if (level === "many" && others > chance) return t("why.details.both", { ...names, agree, others });
  const key = level === "few" || level === "none" ? `${level}${whole}` : level;
  return t(`why.details.${key}`, { agree });
}

/** Score and confidence, always in sight. */
function whyFacts({ guess, decision, confidence, score }, nameOf) {
  if (!guess) return null;
  const share = percent(confidence);
  const of = t("why.confidence_of", { share, name: nameOf(guess) });
  const facts = [[t("why.confidence"), decision === "landmark" ? share : of]];
  if (score != null) facts.push([t("why.score"), numberText(score, TWO_DIGITS)]);
  return el(
    "dl",
    { class: "why-facts" },
    facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

/** The photos that were compared: small ones to choose from, and the chosen one beside the query. */
function whyPairs({ answer, pairs, query, reasons }, url, nameOf) {
  if (!pairs.length) return null;
  const stage = el("div", { class: "stage" });
  const chips = pairs.map((pair, i) => whyChip(pair, pairs, nameOf, () => show(i)));
  const show = (chosen) => {
    const { landmark } = pairs[chosen].photo;
    put(stage, matchView(pairs[chosen], query, url, nameOf(landmark), reasons.chance));
    chips.forEach((chip, i) => chip.setAttribute("aria-pressed", String(i === chosen)));
  };
  const landmarks = [...new Set(pairs.map((pair) => pair.photo.landmark))];
  const groups = landmarks.map((landmark) => {
    const found = answer.candidates.find((one) => one.landmark === landmark)?.confidence;
    return el(
      "div",
      { class: "why-group" },
      el(
        "p",
        {},
        el("b", {}, nameOf(landmark)),
        found == null ? null : el("span", { class: "small" }, percent(found)),
      ),
      el(
        "div",
        { class: "why-chips" },
        chips.filter((_, i) => pairs[i].photo.landmark === landmark),
      ),
    );
  });
  show(0);
  return el(
    "section",
    { class: "pairs", "aria-labelledby": "why-compared" },
    el("h3", { id: "why-compared", class: "unseen" }, t("why.compared")),
    el("div", { class: "strip" }, groups),
    stage,
  );
}

function whyChip(pair, pairs, nameOf, choose) {
  const { landmark } = pair.photo;
  const alike = t(pair.alike ? "why.chip.alike" : "why.chip.less");
  const details = pair.above_chance ? t("why.chip.many", { n: pair.inliers }) : alike;
  const same = pairs.filter((one) => one.photo.landmark === landmark);
  const place = { n: same.indexOf(pair) + 1, of: same.length };
  const image = el("img", { alt: "", loading: "lazy", decoding: "async" });
  const chip = button([image, el("span", {}, details)], choose, {
    class: "chip",
    "aria-label": t("why.choose", { name: nameOf(landmark), ...place, details }),
  });
  showImage(image, pair.image ?? `${pair.preview}?side=200`);
  return chip;
}

/** The measures behind the score, and the most similar distractors, folded. */
function whyNumbers({ parts = [], distractors = [], reasons }) {
  if (!parts.length && !distractors.length) return null;
  return el(
    "details",
    { class: "numbers" },
    el("summary", {}, t("why.numbers")),
    parts.length ? el("p", { class: "small" }, t("why.numbers.lead")) : null,
    parts.length ? whyTable(parts, reasons) : null,
    distractors.length
      ? el(
          "section",
          {},
          el("h3", {}, t("why.distractors")),
          el("p", { class: "small" }, t("why.distractors.text")),
          el(
            "ul",
            { class: "thumbs" },
            distractors.map((one) => el("li", {}, thumb(one, t("why.distractor")))),
          ),
        )
      : null,
  );
}

function whyTable(parts, { details, chance }) {
  const last = parts.findIndex((part) => part.name === "score");
  const rows = [...parts];
  if (details != null && !parts.some((part) => part.name === "inliers"))
    rows.splice(last, 0, { name: "inliers", measured: Math.max(0, details - chance), unused: true });
  const largest = Math.max(...parts.map((part) => Math.abs(part.contribution ?? 0)), 1e-9);
  const heads = ["evidence", "measured", "adds"].map((key) =>
    el("th", { scope: "col" }, t(`why.${key}`)),
  );
  return el(
    "div",
    { class: "tablebox", tabindex: 0, role: "region", "aria-label": t("why.table") },
    el(
      "table",
      {},
      el("caption", { class: "unseen" }, t("why.table")),
      el("thead", {}, el("tr", {}, heads)),
      el(
        "tbody",
        {},
        rows.map((part) => whyRow(part, largest, chance)),
      ),
    ),
  );
}

const COUNTED_PARTS = ["photos", "inliers", "inlier company"];

function whyRow(part, largest, chance) {
  const key = `why.part.${part.name.replaceAll(" ", "_")}`;
  const { measured, contribution } = part;
  const digits = COUNTED_PARTS.includes(part.name) ? { maximumFractionDigits: 0 } : TWO_DIGITS;
  const adds = part.unused
    ? t("why.unused")
    : contribution == null
      ? part.value == null
        ? "–"
        : numberText(part.value, TWO_DIGITS)
      : numberText(contribution, { ...TWO_DIGITS, signDisplay: "exceptZero" });
  return el(
    "tr",
    {},
    el(
      "th",
      { scope: "row" },
      t(key),
      el("span", { class: "small" }, t(`${key}.text`, { chance })),
    ),
    el("td", { class: "n" }, measured == null ? "" : numberText(measured, digits)),
    el(
      "td",
      { class: "adds n" },
      contribution == null ? null : contributionBar(contribution / largest),
      el("span", {}, adds),
    ),
  );
}

function contributionBar(share) {
  const fill = el("span", { class: share < 0 ? "takes" : "gives" });
  fill.style.inlineSize = `${Math.abs(50 * share)}%`;
  fill.style.insetInlineStart = share < 0 ? `${50 + 50 * share}%` : "50%";
  return el("span", { class: "bar", "aria-hidden": "true" }, fill);
}
