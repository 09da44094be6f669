// The page's entry point: read the configuration, switch views, start a card for each photo.

import { answerCard } from "./answer.js";
import { recognizePhoto } from "./recognize.js";
import { byId } from "./dom.js";
import { refresh, showGallery, showKnown, wireGallery } from "./gallery.js";
import { wireUpload } from "./upload.js";
import { requestKey, wireKey } from "./key.js";
import { wireLandmark } from "./landmark.js";
import { wireNewLandmark } from "./new_landmark.js";
import { wireExplanation } from "./explanation.js";
import { counted } from "./format.js";
import { chooseLanguage } from "./text.js";

const VIEWS = ["recognize", "gallery"];
const cards = new Set();

async function start() {
  await chooseLanguage();
  openPage(JSON.parse(byId("config").textContent));
}

function openPage(config) {
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
  const hash = location.hash.slice(1);
  if (hash && !VIEWS.includes(hash)) return; // a link within the view
  const current = hash || VIEWS[0];
  for (const view of VIEWS) {
    byId(view).hidden = view !== current;
    if (view === current) byId(`to-${view}`).setAttribute("aria-current", "page");
    else byId(`to-${view}`).removeAttribute("aria-current");
  }
  const heading = byId(`${current}-title`);
  document.title = `${heading.textContent} – ${byId("brand").textContent}`;
  if (current === "gallery") showGallery();
  if (moved) heading.focus();
}

/** Add a card for each photo: the newest batch on top, its photos in the given order. */
function take(files, config) {
  if (location.hash === "#gallery") location.hash = "#recognize";
  const batch = files.map((file) => {
    let job = null;
    const answer = answerCard(file, config, {
      retry: () => job.retry(),
      cancel: () => job.cancel(),
    });
    answer.card.addEventListener("dismissed", () => {
      cards.delete(answer);
      count();
      byId("choose").focus();
    });
    job = recognizePhoto(file, config, answer.show);
    cards.add(answer);
    return answer.card;
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
  const update = () => (byId("offline").hidden = navigator.onLine);
  addEventListener("online", update);
  addEventListener("offline", update);
  update();
}

addEventListener("key-wanted", ({ detail }) => requestKey("", detail));
watchConnection();
start();
