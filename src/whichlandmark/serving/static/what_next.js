// What to do after an answer: why, directions, Wikipedia, copy, share, a part of the photo, add, save.

import { addPhotos } from "./add_photos.js";
import { wikipediaLink } from "./candidates.js";
import { choosePart } from "./crop.js";
import { button, el, put } from "./dom.js";
import { openExplanation } from "./explanation.js";
import { saveAnswers } from "./export.js";
import { landmarkField } from "./feedback.js";
import { position, titled, townWords } from "./format.js";
import { t } from "./text.js";
import { headline } from "./tone.js";

const PHONE = "(pointer: coarse)";

/** The buttons of an answered card. subject: {tone, guess}. */
export function whatNext(frame, { tone, guess }) {
  const { entry, url, config, actions } = frame;
  const { answer } = entry;
  const named = tone === "sure" || tone === "likely";
  const told = el("p", { class: "small told", role: "status" });
  const panel = el("div", { class: "inset" });
  const words = headline(answer);
  const kept = Boolean(entry.photo); // after a reload there may have been no room to keep it
  const why = button(t("next.why"), () => openExplanation(entry.photo, url, answer), {
    "aria-label": `${t("next.why")} ${words}`,
  });
  const part =
    !kept || entry.decoded === false ? null : button(t("next.part"), () => askPart(frame));
  const more = [
    named ? button(t("next.copy"), () => copy(placeWords(guess), t("next.copied"), told)) : null,
    named ? button(t("next.share"), () => share(guess, told)) : null,
    named ? part : null,
    !kept
      ? null
      : button(t("next.add"), () => addForm(panel, [entry], config, named ? guess : null)),
    button(t("next.save_csv"), () => saveAnswers([entry], "csv")),
    button(t("next.save_json"), () => saveAnswers([entry], "json")),
    button(t("next.remove"), () => actions.remove(entry), {
      "aria-label": t("next.remove_named", { name: entry.name }),
    }),
  ];
  return el(
    "div",
    { class: "next" },
    el(
      "div",
      { class: "buttons" },
      kept ? why : null,
      named ? null : part,
      named ? wikipediaLink(guess) : null,
      named ? directionsLink(guess) : null,
      el(
        "details",
        { class: "more" },
        el("summary", { "aria-label": t("next.more_named", { name: entry.name }) }, t("next.more")),
        el("div", { class: "buttons" }, more),
      ),
    ),
    told,
    panel,
  );
}

async function askPart({ entry, config, actions }) {
  const file = await choosePart(entry, config);
  if (file) actions.askPart(entry, file);
}

const hasPlace = ({ latitude, longitude }) => latitude != null && longitude != null;

/** The way to the landmark: in the phone's map app, else on OpenStreetMap. */
function directionsLink(item) {
  if (!hasPlace(item)) return null;
  const at = `${item.latitude},${item.longitude}`;
  const android = /Android/.test(navigator.userAgent);
  const href = android
    ? `geo:${at}?q=${at}(${encodeURIComponent(titled(item))})`
    : `https://www.openstreetmap.org/directions?to=${encodeURIComponent(at)}`;
  const out = android ? {} : { target: "_blank", rel: "noopener noreferrer" };
  return el("a", { href, ...out }, t("next.directions"));
}

function placeWords(item) {
  const place = hasPlace(item) ? position(item.latitude, item.longitude) : "";
  return [titled(item), townWords(item), place].filter(Boolean).join("\n");
}

/** Copy a text; without the clipboard's interface (no HTTPS), by a selection. */
async function copy(text, words, told) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "unseen", readonly: true });
    area.value = text;
    told.after(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) words = t("next.not_copied", { text });
  }
  told.textContent = words;
}

async function share(item, told) {
  const url = new URL(`#gallery/${encodeURIComponent(item.landmark)}`, document.baseURI).href;
  if (!matchMedia(PHONE).matches || !navigator.share) return copy(url, t("next.link_copied"), told);
  try {
    await navigator.share({ title: titled(item), text: titled(item), url });
  } catch (error) {
    if (error.name !== "AbortError") await copy(url, t("next.link_copied"), told);
  }
}

/** A form that adds photos of entries to the gallery, under the answered or another landmark. */
export function addForm(panel, entries, config, guess) {
  const field = landmarkField(t("next.add_under"), guess);
  const progress = el("div");
  const add = el("button", { type: "submit", class: "main" });
  add.textContent = t("next.add_photos", { n: entries.length });
  const submit = async (event) => {
    event.preventDefault();
    const landmark = field.value();
    if (!landmark) return field.input.focus();
    add.disabled = true;
    const files = entries.map((entry) => bestFile(entry, config));
    const done = await addPhotos(landmark, files, config, progress);
    add.disabled = false;
    if (done.added) dispatchEvent(new Event("gallery-changed"));
  };
  const form = el(
    "form",
    { class: "add", on: { submit } },
    field.nodes,
    el("p", { class: "small" }, t("next.add_words")),
    progress,
    el(
      "div",
      { class: "buttons" },
      add,
      button(t("common.close"), () => put(panel), { class: "quiet" }),
    ),
  );
  put(panel, form);
  field.input.focus();
}

/** The original of a photo where the server takes it, else the photo as it was sent. */
const bestFile = ({ original, photo, decoded }, { max_bytes: most }) =>
  original && decoded && (!most || original.size <= most) && original.type === photo.type
    ? original
    : photo;
