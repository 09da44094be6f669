// The candidate landmarks, each with its most similar gallery photos and their credits.

import { showImage } from "./api.js";
import { el } from "./dom.js";
import { counted, credit, position, titled } from "./format.js";

const MAX_PHOTOS = 4; // per candidate
const SHOWN = { landmark: 1, uncertain: 2, no_landmark: 0 }; // candidates outside the disclosure

/** The candidates of an answer; null when there are none. */
export function candidateList({ candidates, decision }) {
  if (!candidates.length) return null;
  const first = SHOWN[decision];
  const items = candidates.map(candidateItem);
  const rest = items.slice(first);
  const summary = counted(
    rest.length,
    first ? "other candidate" : "closest landmark in the gallery",
    first ? "other candidates" : "closest landmarks in the gallery",
  );
  return el(
    "section",
    { class: "candidates" },
    first ? el("h4", {}, "Most similar photos in the gallery") : null,
    first ? el("ol", {}, items.slice(0, first)) : null,
    rest.length
      ? el("details", {}, el("summary", {}, summary), el("ol", { start: first + 1 }, rest))
      : null,
  );
}

function candidateItem(candidate) {
  const shown = candidate.photos.slice(0, MAX_PHOTOS);
  return el(
    "li",
    {},
    el("p", { class: "candidate" }, el("b", {}, titled(candidate)), landmarkLinks(candidate)),
    el(
      "ul",
      { class: "thumbs" },
      shown.map((match) => el("li", {}, thumb(match, titled(candidate)))),
    ),
  );
}

/** Links of a landmark to OpenStreetMap and Wikidata; nothing is loaded from these sites. */
export function landmarkLinks({ latitude, longitude, wikidata }) {
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

/** A gallery photo with its similarity, matched points and credit. */
export function thumb(match, title) {
  const image = el("img", {
    alt: title ? `${title}, a gallery photo` : "A gallery photo",
    loading: "lazy",
    decoding: "async",
  });
  showImage(image, match.thumbnail);
  return el(
    "figure",
    { class: "thumb" },
    image,
    el(
      "figcaption",
      {},
      similarityTexts(match).map((part) => el("span", { class: "alike" }, part)),
      el("span", { class: "credit" }, credit(match)),
    ),
  );
}

/** Similarity and number of matched points of a gallery photo, as short texts. */
export function similarityTexts({ similarity, inliers }) {
  const parts = [];
  if (similarity != null) parts.push(`similarity ${similarity.toFixed(2)}`);
  if (inliers) parts.push(counted(inliers, "matched point"));
  return parts;
}
