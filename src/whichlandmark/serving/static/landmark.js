// The dialog of one landmark: show, add and remove photos, rename it.

import { ask, picture } from "./api.js";
import { addPhotos } from "./add_photos.js";
import { otherNames } from "./answer.js";
import { places } from "./candidates.js";
import { announce, button, byId, closable, confirmed, el, put } from "./dom.js";
import { picker } from "./upload.js";
import { keyed } from "./key.js";
import { counted, credit, sentence, titled } from "./format.js";

const PAGE = 24;

let changed = false;
let closed = () => {};

export function wireLandmark() {
  closable(byId("landmark")).addEventListener("close", () => {
    put(byId("landmark-body"));
    if (changed) closed();
    changed = false;
  });
}

/** Open a landmark; refresh() is called after a change. */
export function openLandmark(item, config, refresh) {
  closed = refresh;
  byId("landmark-title").textContent = titled(item);
  byId("landmark").showModal();
  byId("landmark-title").focus();
  const desk = {
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
    desk.words,
    ...[otherNames(item), places(item)].filter(Boolean),
    tools(desk),
    desk.progress,
    desk.photos,
    desk.more,
  );
  return fill(desk);
}

function tools(desk) {
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
    const done = await addPhotos(desk.item.landmark, files, desk.config, desk.progress);
    add.disabled = false;
    changed ||= done.added > 0;
    await fill(desk);
  });
  const rename = button("Rename", () => renaming(desk));
  const remove = button("Remove landmark", () => removeAll(desk), { class: "danger" });
  return el("div", { class: "buttons" }, add, rename, remove, input);
}

/** From the first photo on, as many as were shown. */
async function fill(desk) {
  desk.shown = 0;
  put(desk.photos);
  await more(desk);
}

async function more(desk) {
  const path = `v1/landmarks/${encodeURIComponent(desk.item.landmark)}/photos?offset=${desk.shown}&limit=${PAGE}`;
  try {
    const { photos, total } = await ask(path);
    desk.total = total;
    desk.shown += photos.length;
    desk.photos.append(...photos.map((photo) => photoItem(desk, photo)));
    counts(desk);
  } catch (error) {
    failed(desk, error);
  }
}

function counts(desk) {
  desk.words.textContent = counted(desk.total, "photo");
  const left = desk.total - desk.photos.children.length;
  put(
    desk.more,
    ...(left > 0 ? [button(`Show ${Math.min(PAGE, left)} more`, () => more(desk))] : []),
  );
}

function photoItem(desk, photo) {
  const image = el("img", {
    alt: `${titled(desk.item)}, photo ${photo.id}`,
    loading: "lazy",
    decoding: "async",
  });
  picture(image, photo.thumbnail);
  const item = el("li", {});
  const remove = button("Remove", () => removeOne(desk, photo, item), {
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

async function removeOne(desk, photo, item) {
  if (!(await confirmed("Remove this photo?", `${photo.id} is removed from the gallery for good.`)))
    return;
  await change(desk, `v1/photos/${encodeURIComponent(photo.id)}`, { method: "DELETE" }, () => {
    const nearby = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    desk.shown -= 1;
    desk.total -= 1;
    if (desk.total === 0) return byId("landmark").close();
    counts(desk);
    (nearby?.querySelector("button") ?? byId("landmark-title")).focus();
    announce(`Photo removed. ${counted(desk.total, "photo")} left.`);
  });
}

async function removeAll(desk) {
  const name = titled(desk.item);
  const words = `“${name}” and its ${counted(desk.total ?? desk.item.photos, "photo")} are removed from the gallery for good. Photos of it will no longer be recognized.`;
  if (!(await confirmed(`Remove “${name}”?`, words, "Remove landmark"))) return;
  await change(desk, path(desk), { method: "DELETE" }, () => {
    byId("landmark").close();
    byId("gallery-title").focus();
    announce(`${name} was removed.`);
  });
}

function renaming(desk) {
  const name = el("input", {
    id: "rename",
    value: desk.item.landmark,
    maxlength: 200,
    required: true,
    autocomplete: "off",
    spellcheck: "false",
  });
  const submit = async (event) => {
    event.preventDefault();
    const landmark = name.value.trim();
    if (!landmark || landmark === desk.item.landmark) return put(desk.progress);
    await change(desk, path(desk), { method: "PATCH", body: { landmark } }, () => {
      desk.item = { ...desk.item, landmark, title: "" };
      byId("landmark-title").textContent = titled(desk.item);
      byId("landmark-title").focus();
      put(desk.progress);
      announce(`Renamed to ${landmark}.`);
    });
  };
  const cancel = button("Cancel", () => put(desk.progress), { class: "quiet" });
  put(
    desk.progress,
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

const path = (desk) => `v1/landmarks/${encodeURIComponent(desk.item.landmark)}`;

async function change(desk, where, request, after) {
  try {
    await keyed(() => ask(where, request));
    changed = true;
    after();
  } catch (error) {
    failed(desk, error);
  }
}

function failed(desk, error) {
  const hint = error.wait ? `Try again in ${error.wait} s.` : error.hint;
  put(
    desk.progress,
    el(
      "p",
      { class: "problem", role: "alert" },
      [sentence(error.message), hint ? ` ${sentence(hint)}` : ""].join(""),
    ),
  );
}
