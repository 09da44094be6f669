// The candidate landmarks, each with its nearest gallery photos and their credits.

import { picture } from "./api.js";
import { el } from "./dom.js";
import { counted, credit, position, titled } from "./format.js";

const PHOTOS = 4; // of each candidate
const SHOWN = { landmark: 1, uncertain: 2, no_landmark: 0 }; // candidates; the others open on request

/** The candidates of an answer; null where there is none. */
export function candidateList({ candidates, decision }) {
  if (!candidates.length) return null;
  const first = SHOWN[decision];
  const items = candidates.map(candidateItem);
  const rest = items.slice(first);
  const others = counted(
    rest.length,
    first ? "other candidate" : "landmark",
    first ? "other candidates" : "landmarks",
  );
  const summary = first ? others : `The nearest that I know: ${others}`;
  return el(
    "section",
    { class: "candidates" },
    first ? el("h4", {}, "What speaks for it") : null,
    first ? el("ol", {}, items.slice(0, first)) : null,
    rest.length
      ? el("details", {}, el("summary", {}, summary), el("ol", { start: first + 1 }, rest))
      : null,
  );
}

function candidateItem(candidate) {
  const shown = candidate.photos.slice(0, PHOTOS);
  return el(
    "li",
    {},
    el("p", { class: "candidate" }, el("b", {}, titled(candidate)), places(candidate)),
    el(
      "ul",
      { class: "thumbs" },
      shown.map((match) => el("li", {}, thumb(match, titled(candidate)))),
    ),
  );
}

/** Links to OpenStreetMap and Wikidata; nothing is loaded from there. */
export function places({ latitude, longitude, wikidata }) {
  const out = { target: "_blank", rel: "noopener noreferrer" };
  const parts = [];
  if (latitude != null && longitude != null) {
    const href = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=16/${latitude}/${longitude}`;
    parts.push(el("a", { href, ...out }, position(latitude, longitude)));
  }
  if (/^Q\d+$/.test(wikidata ?? ""))
    parts.push(
      el(
        "a",
        { href: `https://www.wikidata.org/wiki/${wikidata}`, ...out },
        `Wikidata ${wikidata}`,
      ),
    );
  return parts.length ? el("span", { class: "places" }, parts) : null;
}

/** A reference photo with its credit and similarity. */
export function thumb(match, title) {
  const image = el("img", {
    alt: title ? `${title}, a photo of the gallery` : "A photo of the gallery",
    loading: "lazy",
    decoding: "async",
  });
  picture(image, match.thumbnail);
  return el(
    "figure",
    { class: "thumb" },
    image,
    el(
      "figcaption",
      {},
      alike(match).map((part) => el("span", { class: "alike" }, part)),
      el("span", { class: "credit" }, credit(match)),
    ),
  );
}

/** Similarity and matched points of a reference, as one or two short phrases. */
export function alike({ similarity, inliers }) {
  const parts = [];
  if (similarity != null) parts.push(`similarity ${similarity.toFixed(2)}`);
  if (inliers) parts.push(`${counted(inliers, "point")} match`);
  return parts;
}
