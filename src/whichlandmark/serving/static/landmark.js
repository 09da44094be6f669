// The dialog of one landmark: its names, place and photos, and the tools to change them.

import { addPhotos } from "./add_photos.js";
import { fetchJson, landmarkPath, problemText, withQuery } from "./api.js";
import { wikipediaLink } from "./candidates.js";
import {
  announce,
  button,
  byId,
  confirmAction,
  el,
  hasChanges,
  makeClosable,
  outLink,
  put,
} from "./dom.js";
import { position, readerLanguage, titled, townWords } from "./format.js";
import { landmarkNotFound } from "./gallery.js";
import { needsKey, withKey, writeNote } from "./key.js";
import { editLandmark } from "./landmark_edit.js";
import { languageName } from "./languages.js";
import { notify, offerUndo } from "./notices.js";
import { picturesOf, undoWords } from "./photo_changes.js";
import { photoGrid } from "./photo_grid.js";
import { landmarkHash, leaveLandmark, renameAddress, setTitle } from "./router.js";
import { t } from "./text.js";
import { picker } from "./upload.js";

const NAMES_SHOWN = 4;

let opened = null; // what the dialog shows; null while it is closed
let wanted = null; // [label, config] of what opens once there is a key

export function wireLandmark() {
  const dialog = makeClosable(byId("landmark"));
  dialog.addEventListener("close", () => {
    if (!opened) return;
    opened = null;
    put(byId("landmark-body"));
    leaveLandmark();
  });
  addEventListener("gallery-changed", ({ detail }) => {
    if (opened && detail !== opened.host) reloadLandmark(opened);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && opened) noticeChange(opened);
  });
  addEventListener("key-changed", () => {
    if (wanted && !needsKey()) return openLandmark(...wanted);
    if (!opened) return;
    writeNote(opened.note);
    reloadLandmark(opened);
  });
}

/** Show the landmark again where somebody has changed the gallery meanwhile, and say so. */
async function noticeChange(view) {
  const path = withQuery(landmarkPath(view.item.landmark), { lang: readerLanguage() });
  const now = await fetchJson(path).catch((error) => error);
  if (opened !== view || hasChanges() || now.generation === view.generation) return;
  if (now.status !== 404 && !now.landmark) return; // no answer: nothing is known
  const same = ({ generation, ...item }) => JSON.stringify(item);
  const differs = same(now) !== same(view.item);
  await reloadLandmark(view);
  if (differs && now.landmark) notify(t("landmark.changed", { name: titled(now) }));
}

/** Close the dialog, because the address is another one now. */
export function closeLandmark() {
  wanted = null;
  opened = null;
  if (byId("landmark").open) byId("landmark").close();
  put(byId("landmark-body"));
}

/** Open the dialog of a landmark by its label. */
export async function openLandmark(label, config) {
  if (opened?.item.landmark === label) return;
  wanted = needsKey() ? [label, config] : null;
  if (wanted) return;
  const view = landmarkView(label, config);
  opened = view;
  nameLandmark(view);
  put(
    byId("landmark-body"),
    view.town,
    view.words,
    view.facts,
    landmarkTools(view),
    view.note,
    view.host,
    view.grid.node,
  );
  if (!byId("landmark").open) byId("landmark").showModal();
  byId("landmark-title").focus();
  writeNote(view.note);
  await reloadLandmark(view);
}

function landmarkView(label, config) {
  const view = {
    item: { landmark: label, title: "", names: {} },
    config,
    town: el("p", { class: "town", dir: "auto", hidden: true }),
    words: el("p", { class: "lead" }),
    facts: el("div", { class: "facts" }),
    note: el("p", { class: "note", hidden: true }),
    host: el("div"),
    grid: null,
    generation: 0,
  };
  view.grid = photoGrid({
    list: (offset, limit) =>
      withKey(() =>
        fetchJson(withQuery(`${landmarkPath(view.item.landmark)}/photos`, { offset, limit })),
      ),
    get landmark() {
      return view.item.landmark;
    },
    get title() {
      return titled(view.item);
    },
    config,
    host: view.host,
    changed: (total) => {
      view.words.textContent = t("common.photos", { n: total });
      if (!total) landmarkGone(view);
    },
    failed: (error) => landmarkFailed(view, error),
  });
  return view;
}

async function reloadLandmark(view) {
  try {
    const path = withQuery(landmarkPath(view.item.landmark), { lang: readerLanguage() });
    const item = await withKey(() => fetchJson(path));
    if (opened !== view) return;
    Object.assign(view, { item, generation: item.generation ?? 1 });
    nameLandmark(view);
    put(view.facts, ...factsOf(item));
    await view.grid.load();
  } catch (error) {
    landmarkFailed(view, error);
  }
}

function nameLandmark(view) {
  byId("landmark-title").textContent = titled(view.item);
  byId("landmark-title").dir = "auto";
  view.town.textContent = townWords(view.item);
  view.town.hidden = !view.town.textContent;
  setTitle(titled(view.item));
}

/** Names in other languages, links to the place and to what is written about it. */
function factsOf(item) {
  const title = titled(item);
  const names = Object.entries(item.names ?? {}).filter(([, name]) => name !== title);
  const nodes = names.map(([lang, name]) =>
    el("li", {}, el("span", { class: "small" }, languageName(lang)), " ", nameIn(lang, name)),
  );
  const links = [];
  if (item.latitude != null && item.longitude != null) {
    const at = `${item.latitude}/${item.longitude}`;
    const pin = `mlat=${item.latitude}&mlon=${item.longitude}`;
    const href = `https://www.openstreetmap.org/?${pin}#map=16/${at}`;
    const place = position(item.latitude, item.longitude);
    links.push(outLink(href, t("landmark.map", { place })));
  }
  links.push(wikipediaLink(item));
  if (/^Q\d+$/.test(item.wikidata ?? "")) {
    const address = `https://www.wikidata.org/wiki/${item.wikidata}`;
    links.push(outLink(address, `Wikidata ${item.wikidata}`));
  }
  if (/^https?:\/\//.test(item.source ?? ""))
    links.push(outLink(item.source, t("landmark.source", { site: new URL(item.source).hostname })));
  const rest = nodes.slice(NAMES_SHOWN);
  return [
    nodes.length ? el("ul", { class: "names" }, nodes.slice(0, NAMES_SHOWN)) : null,
    rest.length
      ? el(
          "details",
          {},
          el("summary", {}, t("landmark.more_names", { n: rest.length })),
          el("ul", { class: "names" }, rest),
        )
      : null,
    links.some(Boolean) ? el("p", { class: "places" }, links) : null,
  ];
}

const nameIn = (lang, name) => el("span", { lang, dir: "auto" }, name);

function landmarkTools(view) {
  const input = el("input", {
    type: "file",
    accept: "image/*",
    multiple: true,
    hidden: true,
    "aria-label": t("landmark.photos_to_add"),
  });
  const add = el("button", { type: "button", class: "main" }, t("landmark.add"));
  const send = async (files) => {
    add.disabled = true;
    const done = await addPhotos(view.item.landmark, files, view.config, view.host);
    add.disabled = false;
    if (opened !== view)
      return notify(t("landmark.added_to", { n: done.added, name: titled(view.item) }));
    if (done.added || done.moved)
      dispatchEvent(new CustomEvent("gallery-changed", { detail: view.host }));
    await view.grid.load();
  };
  picker(add, input, send);
  const body = byId("landmark-body");
  body.ondrop = (event) => {
    const files = [...(event.dataTransfer?.files ?? [])];
    body.classList.remove("over");
    if (!files.length) return;
    event.preventDefault();
    send(files);
  };
  body.ondragover = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    body.classList.add("over");
  };
  body.ondragleave = ({ relatedTarget }) => {
    if (!body.contains(relatedTarget)) body.classList.remove("over");
  };
  return el(
    "div",
    { class: "buttons" },
    add,
    button(t("landmark.edit"), () => change(view)),
    button(t("landmark.share"), () => shareLandmark(view)),
    button(t("landmark.remove"), () => removeLandmark(view), { class: "danger" }),
    input,
  );
}

async function change(view) {
  const saved = await editLandmark(view.item.landmark, view.config);
  if (!saved || opened !== view) return;
  if (saved.landmark !== view.item.landmark) {
    view.item = { ...view.item, landmark: saved.landmark };
    renameAddress(landmarkHash(saved.landmark));
  }
  view.item = { ...view.item, ...saved };
  nameLandmark(view);
  byId("landmark-title").focus(); // at once: later it would take the focus from what is used then
  dispatchEvent(new CustomEvent("gallery-changed", { detail: view.host }));
  await reloadLandmark(view);
}

/** Copy the address of a landmark, or hand it to the phone's own way of sharing. */
async function shareLandmark(view) {
  const url = new URL(landmarkHash(view.item.landmark), document.baseURI).href;
  const title = titled(view.item);
  if (navigator.share && matchMedia("(pointer: coarse)").matches)
    return navigator.share({ title, url }).catch(() => {});
  const copied = await navigator.clipboard?.writeText(url).then(
    () => true,
    () => false,
  );
  notify(copied ? t("landmark.copied") : t("landmark.copy_by_hand", { url }));
}

async function removeLandmark(view) {
  const name = titled(view.item);
  const path = landmarkPath(view.item.landmark);
  const listed = await fetchJson(withQuery(`${path}/photos`, { limit: 6 })).catch(() => null);
  const n = listed?.total ?? view.item.photos ?? 0;
  const words = `${t("edit.remove_landmark_words", { n })} ${undoWords(n, view.config)}`;
  const extra = listed ? [picturesOf(listed.photos, n)] : [];
  const yes = t("landmark.remove");
  if (!(await confirmAction(t("edit.remove_landmark", { name }), words, yes, { extra }))) return;
  try {
    const reply = await withKey(() => fetchJson(path, { method: "DELETE" }));
    byId("landmark").close();
    document.querySelector("main > section:not([hidden]) h1").focus();
    offerUndo(t("edit.removed_landmark", { name }), reply, t("edit.restored_landmark", { name }));
    dispatchEvent(new CustomEvent("gallery-changed", { detail: view.host }));
  } catch (error) {
    landmarkFailed(view, error);
  }
}

function landmarkGone(view) {
  if (opened !== view) return;
  byId("landmark").close();
  announce(t("landmark.gone", { name: titled(view.item) }));
}

function landmarkFailed(view, error) {
  if (opened !== view) return;
  if (error.status === 404) {
    const { landmark } = view.item;
    const seen = view.generation > 0;
    closeLandmark();
    if (seen) notify(t("landmark.gone", { name: titled(view.item) }));
    return landmarkNotFound(landmark);
  }
  put(
    view.host,
    el("p", { class: "problem", role: "alert" }, problemText(error)),
    button(t("common.try_again"), () => {
      put(view.host);
      reloadLandmark(view);
    }),
  );
}
