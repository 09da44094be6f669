// The page's entry point: read the configuration, switch views, start a card for each photo.

import { answerCard } from "./answer.js";
import { ask } from "./api.js";
import { recognizePhoto } from "./recognize.js";
import { button, byId, el, put } from "./dom.js";
import { refresh, showGallery, showKnown, wireGallery } from "./gallery.js";
import { wireUpload } from "./upload.js";
import { wantKey, wireKey } from "./key.js";
import { wireLandmark } from "./landmark.js";
import { wireNewLandmark } from "./new_landmark.js";
import { wireExplanation } from "./explanation.js";
import { counted, sentence } from "./format.js";

const VIEWS = ["recognize", "gallery"];
const cards = new Set();

async function start() {
  byId("unreachable").hidden = true;
  try {
    open(await ask("v1/config"));
  } catch (error) {
    put(
      byId("unreachable"),
      el("p", { class: "lead" }, sentence(error.message)),
      el("p", { class: "small" }, error.hint),
      button("Try again", start),
    );
    byId("unreachable").hidden = false;
  }
}

function open(config) {
  if (config.title) byId("brand").textContent = config.title;
  wireKey(config, () => (location.hash === "#gallery" ? refresh() : null));
  wireExplanation();
  wireGallery(config);
  wireLandmark();
  wireNewLandmark(config, refresh);
  wireUpload((files) => take(files, config));
  byId("clear").addEventListener("click", clear);
  addEventListener("hashchange", () => route(true));
  document.documentElement.dataset.ready = "yes";
  route(false);
  showKnown();
}

function route(moved) {
  const wanted = location.hash.slice(1);
  if (wanted && !VIEWS.includes(wanted)) return; // a link within the view
  const now = wanted || VIEWS[0];
  for (const view of VIEWS) {
    byId(view).hidden = view !== now;
    if (view === now) byId(`to-${view}`).setAttribute("aria-current", "page");
    else byId(`to-${view}`).removeAttribute("aria-current");
  }
  const heading = byId(`${now}-title`);
  document.title = `${heading.textContent} – ${byId("brand").textContent}`;
  if (now === "gallery") showGallery();
  if (moved) heading.focus();
}

/** Each photo becomes a card; the newest batch stands on top, in the order it was given. */
function take(files, config) {
  if (location.hash === "#gallery") location.hash = "#recognize";
  const batch = files.map((file) => {
    let asked = null;
    const made = answerCard(file, config, {
      retry: () => asked.retry(),
      cancel: () => asked.cancel(),
    });
    made.card.addEventListener("dismissed", () => {
      cards.delete(made);
      count();
      byId("choose").focus();
    });
    asked = recognizePhoto(file, config, made.show);
    cards.add(made);
    return made.card;
  });
  byId("answers").prepend(...batch);
  count();
}

function count() {
  byId("answers-head").hidden = cards.size === 0;
  byId("answers-count").textContent = counted(cards.size, "photo");
  document.documentElement.toggleAttribute("data-answers", cards.size > 0);
}

function clear() {
  for (const { dismiss } of [...cards]) dismiss();
}

function watchConnection() {
  const tell = () => (byId("offline").hidden = navigator.onLine);
  addEventListener("online", tell);
  addEventListener("offline", tell);
  tell();
}

addEventListener("key-wanted", ({ detail }) => wantKey("", detail));
watchConnection();
start();
