// The dialog of one landmark: show, add and remove photos, rename it.

import { fetchJson, showImage } from "./api.js";
import { addPhotos } from "./add_photos.js";
import { otherNames } from "./answer.js";
import { landmarkLinks } from "./candidates.js";
import { announce, button, byId, makeClosable, confirmAction, el, put } from "./dom.js";
import { picker } from "./upload.js";
import { withKey } from "./key.js";
import { counted, credit, sentence, titled } from "./format.js";

const PHOTOS_SHOWN = 24;

let changed = false; // whether the gallery was changed while the dialog was open
let onChange = () => {};

export function wireLandmark() {
  makeClosable(byId("landmark")).addEventListener("close", () => {
    put(byId("landmark-body"));
    if (changed) onChange();
    changed = false;
  });
}

/** Open the dialog of a landmark; refresh() is called when it is closed after a change. */
export function openLandmark(item, config, refresh) {
  onChange = refresh;
  byId("landmark-title").textContent = titled(item);
  byId("landmark").showModal();
  byId("landmark-title").focus();
  const view = {
    item,
    config,
    photos: el("ul", { class: "thumbs photos" }),
    words: el("p", { class: "lead" }),
    progress: el("div"),
    more: el("div", { class: "buttons" }),
    shown: 0,
  };
  put(
    byId("landmark-body"),
    view.words,
    ...[otherNames(item), landmarkLinks(item)].filter(Boolean),
    tools(view),
    view.progress,
    view.photos,
    view.more,
  );
  return fill(view);
}

function tools(view) {
  const input = el("input", {
    type: "file",
    accept: "image/*",
    multiple: true,
    hidden: true,
    "aria-label": "Photos to add",
  });
  const add = el("button", { type: "button", class: "main" }, "Add photos");
  picker(add, input, async (files) => {
    add.disabled = true;
    const done = await addPhotos(view.item.landmark, files, view.config, view.progress);
    add.disabled = false;
    changed ||= done.added > 0;
    await fill(view);
  });
  const rename = button("Rename", () => renaming(view));
  const remove = button("Remove landmark", () => removeAll(view), { class: "danger" });
  return el("div", { class: "buttons" }, add, rename, remove, input);
}

/** Show the first page of photos again. */
async function fill(view) {
  view.shown = 0;
  put(view.photos);
  await more(view);
}

async function more(view) {
  const path = `v1/landmarks/${encodeURIComponent(view.item.landmark)}/photos?offset=${view.shown}&limit=${PHOTOS_SHOWN}`;
  try {
    const { photos, total } = await fetchJson(path);
    view.total = total;
    view.shown += photos.length;
    view.photos.append(...photos.map((photo) => photoItem(view, photo)));
    counts(view);
  } catch (error) {
    editFailed(view, error);
  }
}

function counts(view) {
  view.words.textContent = counted(view.total, "photo");
  const left = view.total - view.photos.children.length;
  put(
    view.more,
    ...(left > 0 ? [button(`Show ${Math.min(PHOTOS_SHOWN, left)} more`, () => more(view))] : []),
  );
}

function photoItem(view, photo) {
  const image = el("img", {
    alt: `${titled(view.item)}, photo ${photo.id}`,
    loading: "lazy",
    decoding: "async",
  });
  showImage(image, photo.thumbnail);
  const item = el("li", {});
  const remove = button("Remove", () => removeOne(view, photo, item), {
    class: "quiet",
    "aria-label": `Remove photo ${photo.id}`,
  });
  item.append(
    el(
      "figure",
      { class: "thumb" },
      image,
      el("figcaption", {}, el("span", { class: "credit" }, credit(photo)), remove),
    ),
  );
  return item;
}

async function removeOne(view, photo, item) {
  if (
    !(await confirmAction(
      "Remove this photo?",
      `${photo.id} is removed from the gallery for good.`,
    ))
  )
    return;
  await change(view, `v1/photos/${encodeURIComponent(photo.id)}`, { method: "DELETE" }, () => {
    const nearby = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    view.shown -= 1;
    view.total -= 1;
    if (view.total === 0) return byId("landmark").close();
    counts(view);
    (nearby?.querySelector("button") ?? byId("landmark-title")).focus();
    announce(`Photo removed. ${counted(view.total, "photo")} left.`);
  });
}

async function removeAll(view) {
  const name = titled(view.item);
  const words = `“${name}” and its ${counted(view.total ?? view.item.photos, "photo")} are removed from the gallery for good. Photos of it will no longer be recognized.`;
  if (!(await confirmAction(`Remove “${name}”?`, words, "Remove landmark"))) return;
  await change(view, landmarkPath(view), { method: "DELETE" }, () => {
    byId("landmark").close();
    byId("gallery-title").focus();
    announce(`${name} was removed.`);
  });
}

function renaming(view) {
  const name = el("input", {
    id: "rename",
    value: view.item.landmark,
    maxlength: 200,
    required: true,
    autocomplete: "off",
    spellcheck: "false",
  });
  const submit = async (event) => {
    event.preventDefault();
    const landmark = name.value.trim();
    if (!landmark || landmark === view.item.landmark) return put(view.progress);
    await rename(view, { landmark }, () => {
      view.item = { ...view.item, landmark, title: "" };
      byId("landmark-title").textContent = titled(view.item);
      byId("landmark-title").focus();
      put(view.progress);
      announce(`Renamed to ${landmark}.`);
    });
  };
  const cancel = button("Cancel", () => put(view.progress), { class: "quiet" });
  put(
    view.progress,
    el(
      "form",
      { class: "rename", on: { submit } },
      el("label", { for: "rename" }, "New name"),
      name,
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "submit", class: "main" }, "Rename"),
        cancel,
      ),
    ),
  );
  name.select();
}

/** Rename the landmark; where there is one of that name, ask whether its photos go there. */
async function rename(view, body, after) {
  const send = (more) =>
    withKey(() => fetchJson(landmarkPath(view), { method: "PATCH", body: { ...body, ...more } }));
  const question = `All photos of “${titled(view.item)}” are put there. This cannot be undone at once.`;
  try {
    try {
      await send({});
    } catch (error) {
      if (error.code !== "landmark_exists") throw error;
      if (!(await confirmAction(`Merge with “${body.landmark}”?`, question, "Merge"))) return;
      await send({ merge: true });
    }
    changed = true;
    after();
  } catch (error) {
    editFailed(view, error);
  }
}

const landmarkPath = (view) => `v1/landmarks/${encodeURIComponent(view.item.landmark)}`;

async function change(view, path, request, after) {
  try {
    await withKey(() => fetchJson(path, request));
    changed = true;
    after();
  } catch (error) {
    editFailed(view, error);
  }
}

function editFailed(view, error) {
  const hint = error.wait ? `Try again in ${error.wait} s.` : error.hint;
  put(
    view.progress,
    el(
      "p",
      { class: "problem", role: "alert" },
      [sentence(error.message), hint ? ` ${sentence(hint)}` : ""].join(""),
    ),
  );
}
