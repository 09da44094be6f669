// The view of feedback: what was answered and what people said, to approve, correct or discard.

import { fetchJson, landmarkPath, problemText, showImage, withQuery } from "./api.js";
import { announce, button, byId, confirmAction, el, put } from "./dom.js";
import { readerLanguage, titled } from "./format.js";
import { needsKey, setOpenFeedback, withKey, writeAccess } from "./key.js";
import { pickLandmark } from "./landmark_picker.js";
import { notify } from "./notices.js";
import { pageLanguage, t } from "./text.js";

const REVIEW_PAGE = 20;
const STATES = ["open", "approved", "corrected", "discarded"];

const review = { state: "open", entries: [], total: 0 };

export function wireReview() {
  const choice = byId("review-state");
  for (const state of STATES) choice.append(el("option", { value: state }, t(`review.${state}`)));
  choice.addEventListener("change", () => {
    review.state = choice.value;
    loadFeedback(0);
  });
  addEventListener("key-changed", () => {
    showReviewLink();
    if (!byId("review").hidden) showReview();
  });
}

/** Show the link to this view where the caller may change the gallery and there is feedback. */
export async function showReviewLink() {
  const { write, open } = await writeAccess();
  const link = byId("to-review");
  link.hidden = !(write && open) && byId("review").hidden;
  link.textContent = open ? t("nav.review_open", { n: open }) : t("nav.review");
}

export function showReview() {
  byId("to-review").hidden = false;
  return needsKey() ? null : loadFeedback(0);
}

async function loadFeedback(offset) {
  const { state } = review;
  try {
    const path = withQuery("v1/feedback", { state, offset, limit: REVIEW_PAGE });
    const found = await withKey(() => fetchJson(path));
    await nameAll(found.entries);
    if (state !== review.state) return;
    review.entries = offset ? [...review.entries, ...found.entries] : found.entries;
    review.total = found.total;
    setOpenFeedback(found.open);
    showEntries(offset);
  } catch (error) {
    reviewFailed(error);
  }
}

function showEntries(from) {
  const { entries, total, state } = review;
  showReviewLink();
  byId("review-count").textContent = t("review.count", { n: total });
  const list = byId("review-list");
  if (!from) put(list);
  list.append(...entries.slice(from).map(entryItem));
  if (from) list.children[from]?.querySelector("button")?.focus();
  const left = total - entries.length;
  put(
    byId("review-more"),
    left > 0
      ? button(t("review.more", { n: Math.min(REVIEW_PAGE, left) }), () =>
          loadFeedback(entries.length),
        )
      : null,
  );
  if (total) return put(byId("review-empty"));
  const words = state === "open" ? t("review.nothing_open") : t("review.nothing");
  put(byId("review-empty"), el("p", { class: "lead" }, words));
}

const titles = new Map(); // label → the landmark's name

const readableName = (label) => titles.get(label) ?? titled({ landmark: label });

/** Look up the names of the landmarks that entries are about. */
function nameAll(entries) {
  const labels = entries.flatMap(({ answer, correct, landmark }) => [answer, correct, landmark]);
  const missing = [...new Set(labels)].filter((label) => label && !titles.has(label));
  return Promise.all(
    missing.map(async (label) => {
      const path = withQuery(landmarkPath(label), { lang: readerLanguage() });
      const item = await fetchJson(path).catch(() => null); // new, or not there any more
      titles.set(label, titled(item ?? { landmark: label }));
    }),
  );
}

/** What was answered and what the person said, as two sentences. */
function feedbackWords({ answer, right, correct }) {
  const said = answer
    ? t("review.answered", { name: readableName(answer) })
    : t("review.answered_none");
  if (right) return [said, t("review.said_right")];
  if (correct) return [said, t("review.said_correct", { name: readableName(correct) })];
  return [said, t("review.said_wrong")];
}

/** The landmark that a reader most likely approves; null = none is known. */
const suggestedFor = ({ landmark, correct, right, answer }) =>
  landmark || correct || (right ? answer : null);

function entryItem(entry) {
  const suggested = suggestedFor(entry);
  const [answered, said] = feedbackWords(entry);
  const problem = el("div");
  const name = entry.photo || t("review.photo");
  const picture = entry.image
    ? el("img", { alt: name })
    : el("p", { class: "missing" }, t("review.no_photo"));
  const decide = (words, action, landmark, kind) =>
    button(words, () => decideOn(entry, item, problem, { action, landmark }), { class: kind });
  const correct = button(t("review.correct"), async () => {
    const target = await pickLandmark({
      title: t("review.which"),
      extra: [],
      none: t("review.none"),
    });
    if (!target) return;
    titles.set(target.landmark, target.title);
    decideOn(entry, item, problem, { action: "approve", landmark: target.landmark });
  });
  const item = el(
    "li",
    { class: "feedback-entry" },
    el("div", { class: "frame" }, picture),
    el(
      "div",
      { class: "entry-words" },
      el("h2", { class: "entry-name" }, name),
      el("p", {}, answered),
      el("p", {}, el("b", {}, said)),
      entry.note
        ? el("p", { class: "small", dir: "auto" }, t("review.note", { note: entry.note }))
        : null,
      el("p", { class: "small" }, [timeText(entry.time), entry.key].filter(Boolean).join(" · ")),
      entry.state === "open"
        ? el(
            "div",
            { class: "buttons" },
            suggested ? decide(approveWords(entry, suggested), "approve", suggested, "main") : null,
            correct,
            decide(t("review.discard"), "discard", null, "quiet"),
          )
        : el("p", {}, doneWords(entry)),
      problem,
    ),
  );
  if (entry.image) showImage(picture, entry.image);
  return item;
}

function timeText(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return "";
  const style = { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(pageLanguage(), style).format(time);
}

const approveWords = (entry, name) =>
  t(entry.image ? "review.approve" : "review.confirm", { name: readableName(name) });

const doneWords = ({ state, landmark }) =>
  landmark ? t(`review.was_${state}`, { name: readableName(landmark) }) : t(`review.${state}`);

async function decideOn(entry, item, problem, body) {
  put(problem);
  const gone = body.action === "discard" && entry.image; // the server deletes its photo
  if (gone && !(await askToDiscard(item))) return;
  for (const one of item.querySelectorAll("button")) one.disabled = true;
  try {
    const path = `v1/feedback/${encodeURIComponent(entry.id)}`;
    const reply = await withKey(() => fetchJson(path, { method: "PATCH", body }));
    const near = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    review.entries = review.entries.filter((one) => one !== entry);
    review.total -= 1;
    const { open } = await writeAccess();
    setOpenFeedback(Math.max(0, open - (entry.state === "open" ? 1 : 0)));
    showEntries(review.entries.length);
    (near?.querySelector("button") ?? byId("review-title")).focus();
    sayDecision(body, reply);
  } catch (error) {
    for (const one of item.querySelectorAll("button")) one.disabled = false;
    put(problem, el("p", { class: "problem", role: "alert" }, problemText(error)));
  }
}

function askToDiscard(item) {
  const picture = item.querySelector("img")?.cloneNode();
  const extra = picture ? [el("ul", { class: "pictures" }, el("li", {}, picture))] : [];
  const words = t("review.discard_words");
  return confirmAction(t("review.discard_photo"), words, t("review.discard"), { extra });
}

function sayDecision({ action, landmark }, { added }) {
  if (action === "discard") return notify(t("review.discarded_now"));
  if (!landmark) return notify(t("review.noted_none"));
  const name = readableName(landmark);
  const count = added?.added?.length ?? 0;
  notify(count ? t("review.added", { name }) : t("review.noted", { name }));
  if (count) dispatchEvent(new Event("gallery-changed"));
}

function reviewFailed(error) {
  put(byId("review-list"));
  put(byId("review-more"));
  const again = button(t("common.try_again"), () => loadFeedback(0));
  const words = problemText(error);
  put(byId("review-empty"), el("p", { class: "problem", role: "alert" }, words), again);
  announce(words);
}
