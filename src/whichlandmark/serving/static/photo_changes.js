// Move and remove photos, with a question and a way back.

import { fetchJson, problemText, retryBusy, showImage } from "./api.js";
import { confirmAction, el, put } from "./dom.js";
import { pickLandmark } from "./landmark_picker.js";
import { withKey } from "./key.js";
import { notify, offerUndo } from "./notices.js";
import { t } from "./text.js";

const PICTURED = 6; // photos shown in a question

/**
 * Run action(photo) for each photo. Returns {replies, failed: [problem]}; what is gone already
 * counts as neither. host: node that shows the progress.
 */
export async function forEachPhoto(photos, host, action) {
  const bar = el("progress", { max: photos.length, value: 0, "aria-label": t("edit.progress") });
  const words = el("p", { class: "small" });
  put(host, el("div", { class: "adding" }, words, bar));
  const done = { replies: [], failed: [] };
  for (const [i, photo] of photos.entries()) {
    words.textContent = t("edit.changing", { n: i + 1, all: photos.length });
    try {
      const run = () => withKey(() => action(photo));
      const wait = (n) => (words.textContent = t("edit.busy", { n }));
      done.replies.push({ photo, ...(await retryBusy(run, wait)) });
    } catch (error) {
      if (error.status === 404) continue; // somebody else has removed it
      done.failed.push(error);
      if (["key", "forbidden", "offline", "unreachable"].includes(error.kind)) break;
    }
    bar.value = i + 1;
  }
  put(host);
  return done;
}

/** Say in a node what failed, once for each reason. */
export function showFailures(host, { failed }) {
  if (!failed.length) return;
  const reasons = [...new Set(failed.map(problemText))];
  put(
    host,
    el(
      "div",
      { class: "problem", role: "alert" },
      reasons.map((reason) => el("p", {}, reason)),
    ),
  );
}

/** Small pictures of photos, for a question about them. */
export function picturesOf(photos, all = photos.length) {
  const items = photos.slice(0, PICTURED).map((photo) => {
    const image = el("img", { alt: "" });
    const item = el("li", {}, image);
    showImage(image, photo.thumbnail);
    return item;
  });
  const rest = all - items.length;
  if (rest > 0) items.push(el("li", { class: "rest" }, t("edit.and_more", { n: rest })));
  return el("ul", { class: "pictures" }, items);
}

/** How a removal of n photos can be undone, as a sentence. */
export const undoWords = (n, config) =>
  n > (config.undo_photos ?? Infinity) ? t("edit.no_undo") : t("edit.undo_words");

/** Run one request about all photos; null = it failed, which is said in `host`. */
async function changeTogether(photos, host, path, body) {
  const words = el("p", { class: "small" }, t("edit.changing_all", { n: photos.length }));
  put(host, words);
  const ids = photos.map(({ id }) => id);
  const run = () =>
    withKey(() => fetchJson(path, { method: "POST", body: { photos: ids, ...body } }));
  try {
    const reply = await retryBusy(run, (n) => (words.textContent = t("edit.busy", { n })));
    put(host);
    return reply;
  } catch (error) {
    showFailures(host, { failed: [error] });
    return null;
  }
}

/** Ask, and remove photos. Resolves to whether something changed. */
export async function removePhotos(photos, { landmark, title, total, config, host }) {
  const n = photos.length;
  const last = landmark && n >= total ? ` ${t("edit.last_photos", { name: title })}` : "";
  const words = `${undoWords(n, config)}${last}`;
  const extra = [picturesOf(photos)];
  const asked = t("edit.remove_photos", { n });
  if (!(await confirmAction(asked, words, t("common.remove"), { extra }))) return false;
  const reply = await changeTogether(photos, host, "v1/photos:remove", {});
  if (!reply) return false;
  offerUndo(t("edit.removed_photos", { n }), reply, t("edit.restored_photos", { n }));
  return true;
}

/** Ask where to, and move photos. Resolves to whether something changed. */
export async function movePhotos(photos, { landmark, host }) {
  const target = await pickLandmark({
    title: t("edit.move_photos", { n: photos.length }),
    extra: [picturesOf(photos)],
    without: landmark,
    none: landmark ? t("edit.to_none") : "",
  });
  if (!target) return false;
  const move = (to, where) => changeTogether(photos, where, "v1/photos:move", { landmark: to });
  if (!(await move(target.landmark, host))) return false;
  const values = { n: photos.length, name: target.title };
  const back = async () => {
    const problem = el("div");
    if (await move(landmark, problem)) return t("edit.moved_back", values);
    return problem.textContent;
  };
  notify(t(target.landmark ? "edit.moved" : "edit.moved_to_none", values), back, 60);
  return true;
}
