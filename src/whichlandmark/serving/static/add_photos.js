// Add photos to the gallery, one request per photo, so that a bad photo does not stop the others.

import {
  Problem,
  fetchJson,
  form,
  landmarkPath,
  photoProblem,
  problemText,
  retryBusy,
  withQuery,
} from "./api.js";
import { announce, button, el, put } from "./dom.js";
import { replaced } from "./format.js";
import { smallPhoto } from "./shrink.js";
import { fileProblem } from "./upload.js";
import { withKey } from "./key.js";
import { t } from "./text.js";

// Photos are stored at this size without their place, so more pixels need not travel.
const STORED = { shrink_side: 2048, uses_location: false };

let running = 0; // the page asks before it is left meanwhile

addEventListener("beforeunload", (event) => {
  if (running) event.preventDefault();
});

/**
 * Add files to a landmark, with progress and result in `host`. Returns {added, there, moved,
 * elsewhere: [{file, landmark}], failed: [{name, message}]}.
 */
export async function addPhotos(landmark, files, config, host, move = false) {
  const bar = el("progress", { max: files.length, value: 0, "aria-label": t("edit.progress") });
  const words = el("p", { class: "small" });
  put(host, el("div", { class: "adding" }, words, bar));
  const done = { added: 0, there: 0, moved: 0, known: [], elsewhere: [], failed: [] };
  running += 1;
  for (const [i, file] of files.entries()) {
    words.textContent = t("edit.adding", { n: i + 1, all: files.length, name: file.name });
    try {
      await addOne(landmark, file, config, { words, done, move });
    } catch (error) {
      done.failed.push({ name: file.name, message: problemText(error) });
      if (["key", "forbidden", "offline", "unreachable"].includes(error.kind)) break;
    }
    bar.value = i + 1;
  }
  running -= 1;
  const again = (rest) => addPhotos(landmark, rest, config, host, true);
  put(host, additionReport(done, files.length, again));
  announce(additionSummary(done, files.length));
  return done;
}

async function addOne(landmark, file, config, { words, done, move }) {
  const { photo } = await smallPhoto(file, { ...config, ...STORED });
  const fault = await fileProblem(photo, config);
  if (fault) throw new Problem("unfit", fault.message, fault);
  const path = withQuery(`${landmarkPath(landmark)}/photos`, { move: move ? "true" : "" });
  const post = () => fetchJson(path, { method: "POST", body: form("photos", [photo]) });
  const wait = (n) => (words.textContent = t("edit.busy", { n }));
  const reply = await retryBusy(() => withKey(post), wait);
  done.added += reply.added.length;
  if (reply.already_there?.length) {
    done.there += 1;
    done.known.push(file.name);
  }
  done.moved += (reply.moved ?? []).length;
  for (const { landmark: other } of reply.other_landmark ?? [])
    done.elsewhere.push({ file, landmark: other });
  for (const { error } of reply.failed ?? []) throw photoProblem(error, file, config);
}

function additionSummary({ added, there, moved, elsewhere, failed }, all) {
  const rest = all - added - there - moved - elsewhere.length - failed.length;
  const parts = [t("edit.added", { n: added })];
  if (moved) parts.push(t("edit.were_moved", { n: moved }));
  if (there) parts.push(t("edit.already_there", { n: there }));
  if (elsewhere.length) parts.push(t("edit.are_elsewhere", { n: elsewhere.length }));
  if (failed.length) parts.push(t("edit.not_used", { n: failed.length }));
  if (rest > 0) parts.push(t("edit.not_sent", { n: rest }));
  return `${parts.join(", ")}.`;
}

function additionReport(done, all, again) {
  const line = (name, words) => el("li", {}, el("b", {}, name), ` ${words}`);
  const whereabouts = ({ landmark }) =>
    landmark ? t("edit.is_at", { name: replaced(landmark) }) : t("edit.is_at_none");
  const lines = [
    ...done.failed.map(({ name, message }) => line(name, message)),
    ...done.known.map((name) => line(name, t("edit.is_here"))),
    ...done.elsewhere.map((one) => line(one.file.name, whereabouts(one))),
  ];
  const files = done.elsewhere.map(({ file }) => file);
  return el(
    "div",
    { class: "adding" },
    el("p", {}, additionSummary(done, all)),
    lines.length ? el("ul", { class: "problems" }, lines) : null,
    files.length ? button(t("edit.move_here", { n: files.length }), () => again(files)) : null,
  );
}
