// The candidate landmarks, each with its most similar gallery photos and their credits.

import { showImage } from "./api.js";
import { creditLine } from "./credit_line.js";
import { el } from "./dom.js";
import { counted, percent, position, readerLanguage, titled, townWords } from "./format.js";
import { languageName } from "./languages.js";
import { pageLanguage, t } from "./text.js";
import { odds, toneOf } from "./tone.js";

const MAX_PHOTOS = 4; // per candidate
const SHOWN = { sure: 1, likely: 1, maybe: 2, none: 0 }; // candidates outside the disclosure
const MAX_ODDS = 3;

/** The candidates of an answer with their photos; null when there are none. */
export function candidateList(answer) {
  const tone = toneOf(answer);
  const first = SHOWN[tone];
  const { shares } = odds(answer);
  const items = shares
    .filter(({ one }) => one.photos.length)
    .map(({ one, share }, i) => candidateItem(one, share, first === 1 && i === 0));
  if (!items.length) return null;
  const rest = items.slice(first);
  const summary = t(first ? "answer.others" : "answer.closest", { n: rest.length });
  return el(
    "section",
    { class: "candidates" },
    first ? el("h4", {}, t("answer.looks_like")) : null,
    first ? el("ol", {}, items.slice(0, first)) : null,
    rest.length
      ? el("details", {}, el("summary", {}, summary), el("ol", { start: first + 1 }, rest))
      : null,
  );
}

function candidateItem(candidate, share, named) {
  const shown = candidate.photos.slice(0, MAX_PHOTOS);
  const number = share == null ? null : el("span", { class: "n" }, percent(share));
  const line = [
    el("b", {}, titled(candidate)),
    number,
    townOf(candidate, "span"),
    landmarkLinks(candidate),
  ];
  return el(
    "li",
    {},
    named ? null : el("p", { class: "candidate" }, line), // the card has the name already
    el(
      "ul",
      { class: "thumbs" },
      shown.map((match) => el("li", {}, thumb(match, titled(candidate)))),
    ),
  );
}

/** The likeliest landmarks of an unsure answer, each with a number, and the rest. */
export function oddsList(answer) {
  const { shares, rest } = odds(answer);
  const shown = shares
    .filter(({ share }) => share != null && share >= 0.01)
    .slice(0, MAX_ODDS)
    .map(({ one, share }) => [titled(one), share]);
  const row = ([name, share], unknown) => {
    const bar = el("span", { class: unknown ? "unknown" : "" });
    bar.style.inlineSize = `${Math.max(1, Math.round(100 * share))}%`;
    return el(
      "li",
      {},
      el("span", {}, name),
      el("span", { class: "n" }, percent(share)),
      el("span", { class: "meter", "aria-hidden": "true" }, bar),
    );
  };
  return el(
    "ul",
    { class: "odds" },
    shown.map((one) => row(one, false)),
    row([t("answer.unknown"), rest], true),
  );
}

const OUT = { target: "_blank", rel: "noopener noreferrer" };

/**
 * The article on Wikipedia in the reader's language, else in another one, which the link says. Of a
 * landmark without known articles Wikidata finds it when the link is followed.
 */
export function wikipediaLink({ wikidata, wikipedia }) {
  const hosts = Object.keys(wikipedia ?? {}).filter((host) => /^[a-z][a-z0-9-]{1,34}$/.test(host));
  const own = readerLanguage().toLowerCase();
  const wanted = [own, own.split("-")[0], pageLanguage(), "en", ...hosts];
  const host = wanted.find((one) => hosts.includes(one));
  if (host) {
    const name = wikipedia[host].replaceAll(" ", "_").split("/").map(encodeURIComponent).join("/");
    const href = `https://${host}.wikipedia.org/wiki/${name}`;
    const readable = [own, own.split("-")[0]].includes(host);
    const other = () => t("next.wikipedia_in", { language: languageName(host) });
    return el("a", { href, ...OUT }, readable ? t("next.wikipedia") : other());
  }
  if (!/^Q\d+$/.test(wikidata ?? "")) return null;
  const href = `https://www.wikidata.org/wiki/Special:GoToLinkedPage/${pageLanguage()}wiki/${wikidata}`;
  return el("a", { href, ...OUT }, t("next.wikipedia"));
}

/** City and country of a landmark, in an element of this kind; null = not known. */
export function townOf(item, kind = "p") {
  const words = townWords(item);
  return words ? el(kind, { class: "town", dir: "auto" }, words) : null;
}

/** The place of a landmark on OpenStreetMap. */
export function placeLink({ latitude, longitude }) {
  if (latitude == null || longitude == null) return null;
  const href = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=16/${latitude}/${longitude}`;
  return el("a", { href, ...OUT }, position(latitude, longitude));
}

/** Links of a landmark to a map and Wikipedia; nothing is loaded from these sites before a click. */
export function landmarkLinks(item) {
  const parts = [placeLink(item), wikipediaLink(item)];
  return parts.some(Boolean) ? el("span", { class: "places" }, parts) : null;
}

/** A gallery photo with its credit. */
export function thumb(match, title) {
  const image = el("img", {
    alt: title ? t("answer.gallery_photo_of", { name: title }) : t("answer.gallery_photo"),
    loading: "lazy",
    decoding: "async",
  });
  showImage(image, match.thumbnail);
  return el(
    "figure",
    { class: "thumb" },
    image,
    el("figcaption", {}, creditLine(match)),
  );
}

/** Similarity and number of matched points of a gallery photo, as short texts. */
export function similarityTexts({ similarity, inliers }) {
  const parts = [];
  if (similarity != null) parts.push(`similarity ${similarity.toFixed(2)}`);
  if (inliers) parts.push(counted(inliers, "matched point"));
  return parts;
}
