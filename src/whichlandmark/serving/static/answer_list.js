// The photos of this tab with their answers: taken, shown as cards or as a list, removed, restored.

import { answerCard } from "./answer.js";
import { placeNodes, rowsView } from "./answer_rows.js";
import { announce, byId, prefersReducedMotion } from "./dom.js";
import { saveAnswers } from "./export.js";
import { notify } from "./notices.js";
import { pauseRecognition, recognizePhoto, retryKeyless } from "./recognize.js";
import { forgetRecords, keepRecord, keptRecords } from "./session.js";
import { t } from "./text.js";
import { toneOf } from "./tone.js";
import { wireUpload } from "./upload.js";

const MANY = 3; // from so many photos on they are a list, and one card is open at a time
const MANY_PARTS = 5; // the same, counting the parts of photos that were asked
const UNDO_TIME = 30; // seconds in which a removal can be undone

const list = {
  entries: [], // as shown
  cards: new Map(), // entry → its card, where all have one
  rows: null,
  config: {},
  busy: false, // photos are being answered
  paused: false,
  numbers: 0,
};

/** Set up the Recognize view, and show the answers again that this tab had before a reload. */
export async function wireRecognize(config) {
  list.config = config;
  list.rows = rowsView(byId("list"), config, actions);
  wireUpload(takePhotos, tellNotice);
  byId("clear").addEventListener("click", () => removeEntries([...list.entries]));
  byId("save-csv").addEventListener("click", () => saveAnswers(list.entries, "csv"));
  byId("save-json").addEventListener("click", () => saveAnswers(list.entries, "json"));
  byId("pause").addEventListener("click", () => pause(!list.paused));
  byId("stop").addEventListener("click", stopAll);
  addEventListener("key-changed", retryKeyless);
  restore(await keptRecords());
}

/** Ask for the landmark of each photo: the newest photos on top, in the given order. */
export function takePhotos(files) {
  if (byId("recognize").hidden) location.hash = "#recognize";
  const first = Math.min(0, ...list.entries.map((entry) => entry.order)) - files.length;
  const batch = files.map((file, i) => newEntry({ file, name: file.name, order: first + i }));
  list.entries.unshift(...batch);
  arrange();
  for (const entry of batch) startPhoto(entry);
  if (batch.length === 1 && isMany()) list.rows.open(batch[0]);
  reveal(isMany() && batch.length > 1 ? byId("answers-head") : nodeOf(batch[0]));
}

const actions = {
  retry: (entry) => entry.job.retry(),
  remove: (entry) => removeEntries([entry]),
  removeMany: removeEntries,
  askPart: takePart,
};

/** Ask for a part of a photo, as a card under that of the photo. */
function takePart(parent, file) {
  const place = list.entries.indexOf(parent) + 1;
  const after = list.entries[place]?.order ?? parent.order + 1;
  const order = (parent.order + after) / 2;
  const entry = newEntry({ file, name: file.name, order, parent: parent.id });
  list.entries.splice(place, 0, entry);
  arrange();
  startPhoto(entry);
  if (isMany()) list.rows.open(entry);
  reveal(nodeOf(entry));
}

function newEntry(known) {
  const id = `${Date.now().toString(36)}-${(list.numbers += 1)}`;
  const fresh = { original: known.file, photo: null, thumbnail: null, parent: null };
  return { id, state: "waiting", share: 0, kept: false, ...fresh, ...known };
}

function startPhoto(entry) {
  keep(entry);
  entry.job = recognizePhoto(entry, list.config, (change) => entryChanged(entry, change));
}

function entryChanged(entry, change) {
  if (!list.entries.includes(entry)) return;
  Object.assign(entry, { problem: null, until: null, share: 0 }, change);
  const settled = ["answered", "failed", "stopped"].includes(entry.state);
  if (settled || (entry.photo && !entry.kept)) keep(entry);
  list.cards.get(entry)?.show();
  if (isMany()) list.rows.update(entry);
  count();
  if (settled && list.entries.length === 1) reveal(nodeOf(entry), true);
}

const isMany = () =>
  list.entries.length >= MANY_PARTS || list.entries.filter((entry) => !entry.parent).length >= MANY;

const nodeOf = (entry) => list.cards.get(entry)?.card ?? list.rows.nodeOf(entry);

/** Show the entries: as cards, or many of them as a list. */
function arrange() {
  const many = isMany();
  const wanted = many ? [] : list.entries;
  for (const [entry, card] of list.cards)
    if (!wanted.includes(entry)) {
      card.close();
      list.cards.delete(entry);
    }
  for (const entry of wanted) if (!list.cards.has(entry)) addCard(entry);
  placeNodes(
    byId("answers"),
    wanted.map((entry) => list.cards.get(entry).card),
  );
  list.rows.arrange(many ? list.entries : []);
  byId("list").hidden = !many;
  document.documentElement.toggleAttribute("data-answers", list.entries.length > 0);
  count();
}

function addCard(entry) {
  const card = answerCard(entry, list.config, actions);
  list.cards.set(entry, card);
  card.show();
}

function count() {
  const { entries } = list;
  const states = entries.map((entry) => entry.state);
  const waiting = states.filter((one) => ["waiting", "recognizing", "busy"].includes(one)).length;
  const failed = states.filter((one) => one === "failed").length;
  const answered = states.filter((one) => one === "answered").length;
  byId("answers-head").hidden = entries.length === 0;
  const words = [t("list.answered", { answered, n: entries.length })];
  if (failed) words.push(t("list.failed", { n: failed }));
  byId("answers-count").textContent =
    waiting || failed ? words.join(", ") : t("common.photos", { n: entries.length });
  byId("save").hidden = entries.length < 2 || waiting > 0;
  const progress = byId("answers-progress");
  progress.hidden = byId("stop").hidden = byId("pause").hidden = !waiting || !isMany();
  progress.max = Math.max(1, entries.length);
  progress.value = entries.length - waiting;
  if (waiting) list.busy ||= isMany();
  else if (list.busy) finished(answered, failed);
}

function finished(answered, failed) {
  list.busy = false;
  pause(false);
  const tones = list.entries.filter((e) => e.answer).map(({ answer }) => toneOf(answer));
  const named = tones.filter((tone) => tone === "sure" || tone === "likely").length;
  const words = [t("list.done", { n: answered, named })];
  if (failed) words.push(t("list.failed", { n: failed }));
  announce(`${words.join(", ")}.`);
}

function pause(wanted) {
  list.paused = wanted;
  byId("pause").textContent = t(wanted ? "list.go_on" : "list.pause");
  pauseRecognition(wanted);
}

function stopAll() {
  for (const entry of list.entries)
    if (["waiting", "recognizing", "busy"].includes(entry.state)) entry.job.stop();
  byId("choose").focus();
}

/** Bring a new card into view, unless the person types somewhere or it is there. */
function reveal(node, onlyUnseen = false) {
  const typing = document.activeElement?.matches("input:not([type=checkbox]), textarea, select");
  if (!node || typing || document.querySelector("dialog[open]")) return;
  const { top } = node.getBoundingClientRect();
  if (onlyUnseen && top >= 0 && top < innerHeight / 2) return;
  node.scrollIntoView({ block: "start", behavior: prefersReducedMotion() ? "auto" : "smooth" });
}

// — remove and put back

/** Remove entries; for some seconds this can be undone. */
function removeEntries(gone) {
  if (!gone.length) return;
  const place = list.entries.indexOf(gone[0]);
  for (const entry of gone) entry.job?.cancel();
  list.entries = list.entries.filter((entry) => !gone.includes(entry));
  forgetRecords(gone.map((entry) => entry.id));
  arrange();
  notify(t("list.removed", { n: gone.length }), async () => putBack(gone), UNDO_TIME);
  const near = list.entries[Math.min(place, list.entries.length - 1)];
  const focus = near && nodeOf(near)?.querySelector("button, summary");
  (focus ?? byId("choose")).focus();
}

/** Put removed entries back into their places. */
function putBack(gone) {
  list.entries = [...list.entries, ...gone].sort((a, b) => a.order - b.order);
  arrange();
  for (const entry of gone) {
    if (["answered", "failed", "stopped"].includes(entry.state)) keep(entry);
    else entry.job.retry();
  }
  return t("list.put_back", { n: gone.length });
}

// — over a reload

function keep(entry) {
  entry.kept = Boolean(entry.photo);
  const { id, order, name, photo, thumbnail, decoded, parent, state, answer, request } = entry;
  const problem = entry.problem && { ...entry.problem, message: entry.problem.message };
  const record = { id, order, name, photo, thumbnail, decoded, parent, state };
  keepRecord({ ...record, answer, request, problem });
}

function restore(records) {
  if (!records.length) return;
  const back = records
    .filter(({ id }) => !list.entries.some((entry) => entry.id === id))
    .map((record) => ({ ...record, file: record.photo, original: record.photo, kept: true }));
  list.entries = [...list.entries, ...back].sort((a, b) => a.order - b.order);
  for (const entry of back) revive(entry);
  arrange();
  for (const entry of back) if (entry.state === "waiting") startPhoto(entry);
}

function revive(entry) {
  const lost = () => {
    entry.state = "failed";
    const words = { message: t("answer.lost"), hint: t("answer.lost_hint") };
    entry.problem = { kind: "unfit", code: "lost", ...words };
  };
  const again = () => (entry.photo ? startPhoto(entry) : (lost(), entryChanged(entry, entry)));
  const job = { retry: again, cancel: () => {}, stop: () => {} };
  if (["answered", "stopped"].includes(entry.state) || entry.problem?.kind === "unfit")
    entry.job = job;
  else if (entry.photo) entry.state = "waiting";
  else {
    lost();
    entry.job = job;
  }
}

/** Say what happened to files that were dropped, pasted or chosen; "" = nothing to say. */
function tellNotice(words) {
  byId("notice").textContent = words;
  byId("notice").hidden = !words;
}
