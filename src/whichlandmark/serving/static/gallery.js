// The gallery view: search landmarks and page through them.

import { fetchJson, showImage } from "./api.js";
import { button, byId, el, put } from "./dom.js";
import { openLandmark } from "./landmark.js";
import { requestKey } from "./key.js";
import { counted, sentence, titled } from "./format.js";

const PAGE_SIZE = 24;
const PREVIEW_SIZE = 6;
const SEARCH_DELAY = 250; // ms after the last key press

const view = { query: "", offset: 0, total: 0, requests: 0, fresh: false, config: {} };

export function wireGallery(config) {
  view.config = config;
  let typing = 0;
  const search = () => {
    clearTimeout(typing);
    if (view.query === byId("query").value.trim() && view.fresh) return;
    Object.assign(view, { query: byId("query").value.trim(), offset: 0 });
    refresh();
  };
  byId("query").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(search, SEARCH_DELAY);
  });
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  byId("previous").addEventListener("click", () => turn(-PAGE_SIZE));
  byId("next").addEventListener("click", () => turn(PAGE_SIZE));
}

/** Show some landmarks on the empty page, so that a new visitor sees what can be recognized. */
export async function showKnown() {
  const found = await fetchJson(`v1/landmarks?limit=${PREVIEW_SIZE}`).catch(() => null);
  if (!found?.landmarks.length) return;
  put(
    byId("known-few"),
    found.landmarks.map((item) => el("li", {}, card(item))),
  );
  byId("known-all").textContent = `See all ${found.total}`;
  byId("known-all").hidden = found.total <= PREVIEW_SIZE;
  byId("known").hidden = false;
}

async function turn(step) {
  view.offset = Math.max(0, view.offset + step);
  await refresh();
  const used = step > 0 ? "next" : "previous";
  const focus = byId(used).disabled ? byId("gallery-title") : byId(used);
  focus.focus();
}

export const showGallery = () => (view.fresh ? null : refresh());

/** Load the current page of landmarks again. */
export async function refresh() {
  const number = (view.requests += 1);
  const list = byId("landmarks");
  list.setAttribute("aria-busy", "true");
  if (!list.children.length) state([el("p", { class: "lead" }, "Loading the gallery…")]);
  try {
    const path = `v1/landmarks?query=${encodeURIComponent(view.query)}&offset=${view.offset}&limit=${PAGE_SIZE}`;
    const found = await fetchJson(path);
    if (number !== view.requests) return; // a later request is in progress
    if (!found.landmarks.length && view.offset > 0) {
      view.offset = Math.max(0, view.offset - PAGE_SIZE); // the last page is empty now
      return await refresh();
    }
    view.fresh = true;
    showPage(found);
  } catch (error) {
    if (number !== view.requests) return;
    view.fresh = false;
    showError(error);
  } finally {
    list.removeAttribute("aria-busy");
  }
}

function showPage({ landmarks, total, photos, distractors }) {
  view.total = total;
  const counts = [counted(total, "landmark"), counted(photos, "photo")];
  if (distractors) counts.push(`${counted(distractors, "distractor")} (photos without a landmark)`);
  byId("gallery-count").textContent = view.query
    ? `${counted(total, "landmark")} for “${view.query}”`
    : counts.join(" · ");
  put(byId("landmarks"), ...landmarks.map((item) => el("li", {}, card(item))));
  const [from, to] = [view.offset + 1, view.offset + landmarks.length];
  byId("paging").hidden = total <= PAGE_SIZE;
  byId("page-words").textContent = `${from}–${to} of ${total}`;
  byId("previous").disabled = view.offset === 0;
  byId("next").disabled = to >= total;
  if (landmarks.length) return state(null);
  const words = view.query
    ? `No landmark matches “${view.query}”.`
    : "The gallery is empty. Add a landmark with a few photos.";
  state([el("p", { class: "lead" }, words)]);
}

function showError(error) {
  put(byId("landmarks"));
  byId("gallery-count").textContent = "";
  byId("paging").hidden = true;
  const wait = error.wait ? `Try again in ${error.wait} s.` : error.hint;
  state([
    el("p", { class: "problem", role: "alert" }, sentence(error.message)),
    wait ? el("p", { class: "small" }, sentence(wait)) : "",
    button("Try again", refresh),
  ]);
  if (error.kind === "key") requestKey(error.message, refresh);
}

function state(children) {
  byId("gallery-state").hidden = !children;
  put(byId("gallery-state"), ...(children ?? []));
}

function card(item) {
  const image = el("img", { alt: "", loading: "lazy", decoding: "async" });
  showImage(image, item.thumbnail);
  const open = () => openLandmark(item, view.config, refresh);
  return el(
    "button",
    { type: "button", class: "card", on: { click: open } },
    image,
    el(
      "span",
      { class: "card-words" },
      el("b", {}, titled(item)),
      el("span", { class: "small" }, counted(item.photos, "photo")),
    ),
  );
}
