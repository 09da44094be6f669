// The dialog that asks for a landmark: search among those of the gallery, or name a new one.

import { fetchJson, problemText, showImage, withQuery } from "./api.js";
import { button, byId, el, makeClosable, put } from "./dom.js";
import { readerLanguage, titled } from "./format.js";
import { t } from "./text.js";

const SUGGESTED = 6;
const PICK_DELAY = 200; // ms after the last key press

const ask = { options: {}, finish: null, query: null, found: [], timer: 0 };

export function wirePicker() {
  makeClosable(byId("pick")).addEventListener("close", () => {
    clearTimeout(ask.timer);
    ask.finish?.(null);
    ask.finish = null;
  });
  byId("pick-name").addEventListener("input", () => {
    clearTimeout(ask.timer);
    ask.timer = setTimeout(suggestLandmarks, PICK_DELAY);
  });
  byId("pick-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(ask.timer);
    await suggestLandmarks();
    const name = byId("pick-name").value.trim().toLowerCase();
    const same = ask.found.filter(
      (item) => titled(item).toLowerCase() === name || item.landmark.toLowerCase() === name,
    );
    if (same.length === 1) choose(same[0]);
    else byId("pick-found").querySelector("button")?.focus();
  });
}

/**
 * Ask for a landmark. Resolves to {landmark, title}; null = closed without. options: {title,
 * extra: nodes below it, without: a label that is not offered, none: words of the choice without
 * a landmark, "" = there is none}.
 */
export function pickLandmark(options) {
  Object.assign(ask, { options, query: null, found: [] });
  byId("pick-title").textContent = options.title;
  put(byId("pick-extra"), ...(options.extra ?? []));
  put(byId("pick-found"));
  byId("pick-name").value = options.query ?? "";
  byId("pick").showModal();
  byId("pick-name").focus();
  suggestLandmarks();
  return new Promise((resolve) => (ask.finish = resolve));
}

function choose({ landmark, ...item }) {
  const { finish } = ask;
  ask.finish = null;
  byId("pick").close();
  finish({ landmark, title: landmark ? titled({ landmark, ...item }) : "" });
}

async function suggestLandmarks() {
  const query = byId("pick-name").value.trim();
  if (query === ask.query) return;
  ask.query = query;
  const values = { query, limit: SUGGESTED + 1, lang: readerLanguage() };
  const reply = await fetchJson(withQuery("v1/landmarks", values)).catch((error) => ({ error }));
  if (ask.query !== query) return; // a later request is in progress
  if (reply.error) ask.query = null; // so that Enter asks again
  const { without, none } = ask.options;
  ask.found = (reply.landmarks ?? []).filter((item) => item.landmark !== without);
  const items = ask.found.slice(0, SUGGESTED).map((item) => foundLandmark(item));
  const known = ask.found.some((item) => item.landmark === query || titled(item) === query);
  if (query && !known && query !== without && !reply.error)
    items.push(choice(t("edit.to_new", { name: query }), { landmark: query, title: query }));
  if (none) items.push(choice(none, { landmark: "" }));
  put(byId("pick-found"), ...items);
  byId("pick-state").textContent = reply.error
    ? problemText(reply.error)
    : t("edit.suggested", { n: items.length });
}

const choice = (words, item) =>
  el(
    "li",
    {},
    button(words, () => choose(item), { class: "choice" }),
  );

function foundLandmark(item) {
  const image = el("img", { alt: "" });
  const words = el(
    "span",
    {},
    el("b", { dir: "auto" }, titled(item)),
    el("span", { class: "small" }, t("common.photos", { n: item.photos })),
  );
  const entry = el(
    "li",
    {},
    button([image, words], () => choose(item), { class: "choice" }),
  );
  showImage(image, item.thumbnail);
  return entry;
}
