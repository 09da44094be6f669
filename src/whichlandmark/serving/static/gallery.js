// The gallery view: search landmarks and page through them.

import { asProblem, fetchJson, showImage, withQuery } from "./api.js";
import { countGroups } from "./discoveries.js";
import { button, byId, el, put } from "./dom.js";
import { readerLanguage, replaced, titled } from "./format.js";
import { askForKey, needsKey, sayKeyNeeded, writeNote } from "./key.js";
import { showReviewLink } from "./review.js";
import { landmarkHash, renameAddress, replaceAddress } from "./router.js";
import { t } from "./text.js";

const PAGE_SIZE = 24;
const PREVIEW_SIZE = 3; // few, because a first visit waits for their pictures
const SEARCH_DELAY = 250; // ms after the last key press

const galleryList = { query: "", offset: 0, requests: 0, fresh: false, lost: null };

export function wireGallery() {
  let typing = 0;
  const search = () => {
    clearTimeout(typing);
    const query = byId("query").value.trim();
    if (galleryList.query === query && galleryList.fresh) return;
    Object.assign(galleryList, { query, offset: 0, lost: null });
    renameAddress(addressOf(galleryList));
    refreshGallery();
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
  addEventListener("gallery-changed", () => {
    galleryList.fresh = false;
    if (!byId("gallery").hidden) refreshGallery();
  });
  addEventListener("key-changed", () => {
    galleryList.fresh = false;
    showKnown();
    if (!byId("gallery").hidden) showGallery(galleryList);
  });
}

const addressOf = ({ query, offset }) =>
  withQuery("#gallery", { query, page: offset ? offset / PAGE_SIZE + 1 : "" });

/** Show some landmarks on the empty page, so that a new visitor sees what can be recognized. */
export async function showKnown() {
  if (needsKey() || byId("known-few").children.length) return;
  const path = withQuery("v1/landmarks", { limit: PREVIEW_SIZE, lang: readerLanguage() });
  const found = await fetchJson(path).catch((error) => {
    if (error.kind === "key") sayKeyNeeded(error); // the key of this tab was withdrawn
    return null;
  });
  if (!found?.landmarks.length) return;
  put(
    byId("known-few"),
    found.landmarks.map((item) => el("li", {}, landmarkCard(item))),
  );
  byId("known-all").textContent = t("gallery.see_all", { n: found.total });
  byId("known-all").hidden = found.total <= PREVIEW_SIZE;
  byId("known").hidden = false;
}

async function turn(step) {
  galleryList.offset = Math.max(0, galleryList.offset + step);
  renameAddress(addressOf(galleryList));
  await refreshGallery();
  const used = byId(step > 0 ? "next" : "previous");
  (used.disabled ? byId("gallery-title") : used).focus();
  byId("gallery-title").scrollIntoView();
}

/** Show what an address asks for: {query, page}. */
export function showGallery({ query = "", page = 1, offset = PAGE_SIZE * (page - 1) }) {
  writeNote(byId("gallery-note"));
  showReviewLink();
  countGroups();
  if (galleryList.lost !== null && replaced(galleryList.lost) !== query) galleryList.lost = null;
  if (galleryList.fresh && galleryList.query === query && galleryList.offset === offset)
    return null;
  Object.assign(galleryList, { query, offset: Math.max(0, Math.round(offset) || 0) });
  byId("query").value = query;
  return refreshGallery();
}

/** Say that the gallery has no landmark of a label, and show those with the nearest names. */
export function landmarkNotFound(label) {
  const query = replaced(label);
  Object.assign(galleryList, { lost: label, fresh: false });
  replaceAddress(addressOf({ query, offset: 0 }));
}

/** Load the current page of landmarks again. */
async function refreshGallery() {
  const number = (galleryList.requests += 1);
  const items = byId("landmarks");
  if (needsKey()) return showProblem(null);
  items.setAttribute("aria-busy", "true");
  if (!items.children.length) galleryState(el("p", { class: "lead" }, t("gallery.loading")));
  try {
    const { query, offset } = galleryList;
    const lang = readerLanguage();
    const found = await fetchJson(
      withQuery("v1/landmarks", { query, offset, limit: PAGE_SIZE, lang }),
    );
    if (number !== galleryList.requests) return; // a later request is in progress
    if (!found.landmarks.length && offset > 0) {
      galleryList.offset = found.total ? PAGE_SIZE * Math.floor((found.total - 1) / PAGE_SIZE) : 0;
      return await refreshGallery();
    }
    galleryList.fresh = true;
    showPage(found);
  } catch (error) {
    if (number !== galleryList.requests) return;
    galleryList.fresh = false;
    showProblem(asProblem(error));
  } finally {
    items.removeAttribute("aria-busy");
  }
}

function showPage({ landmarks, total, photos, distractors }) {
  const { query, offset, lost } = galleryList;
  byId("gallery-count").textContent = query
    ? t("gallery.found", { n: total, query })
    : `${t("gallery.landmarks", { n: total })} · ${t("common.photos", { n: photos })}`;
  byId("to-unlabelled").hidden = !distractors;
  byId("to-unlabelled").textContent = t("gallery.unlabelled", { n: distractors });
  const focused = document.activeElement?.closest("#landmarks a")?.hash;
  put(byId("landmarks"), ...landmarks.map((item) => el("li", {}, landmarkCard(item))));
  const links = [...document.querySelectorAll("#landmarks a")];
  if (focused) links.find(({ hash }) => hash === focused)?.focus();
  const [from, to] = [offset + 1, offset + landmarks.length];
  byId("paging").hidden = total <= PAGE_SIZE;
  byId("page-words").textContent = t("gallery.range", { from, to, total });
  byId("previous").disabled = offset === 0;
  byId("next").disabled = to >= total;
  byId("gallery-lost").hidden = lost === null;
  if (lost !== null)
    byId("gallery-lost").textContent = t(total ? "gallery.lost" : "gallery.lost_alone", {
      name: lost,
    });
  if (landmarks.length) return galleryState();
  galleryState(
    el("p", { class: "lead" }, query ? t("gallery.none", { query }) : t("gallery.empty")),
    query ? button(t("gallery.all"), () => byId("to-gallery").click()) : null,
  );
}

/** Show why there is no list: a Problem, or null where a key is needed first. */
function showProblem(error) {
  put(byId("landmarks"));
  byId("gallery-count").textContent = "";
  for (const id of ["paging", "gallery-lost", "to-unlabelled"]) byId(id).hidden = true;
  if (error === null) return galleryState(el("p", { class: "lead" }, t("key.first")));
  galleryState(
    el("p", { class: "problem", role: "alert" }, error.message),
    error.hint ? el("p", { class: "small" }, error.hint) : null,
    button(t("common.try_again"), refreshGallery),
  );
  if (error.kind === "key") askForKey(error, refreshGallery);
}

function galleryState(...children) {
  byId("gallery-state").hidden = !children.length;
  put(byId("gallery-state"), ...children);
}

/** A landmark with its first photo, as a link to it. */
function landmarkCard(item) {
  const image = el("img", { alt: "", loading: "lazy", decoding: "async" });
  const link = el(
    "a",
    { class: "card", href: landmarkHash(item.landmark) },
    image,
    el(
      "span",
      { class: "card-words" },
      el("b", { dir: "auto" }, titled(item)),
      el("span", { class: "small" }, t("common.photos", { n: item.photos })),
    ),
  );
  showImage(image, item.thumbnail);
  return link;
}
