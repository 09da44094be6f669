// The page's entry point: read the configuration, switch views.

import { wireRecognize } from "./answer_list.js";
import { byId } from "./dom.js";
import { refresh, showGallery, showKnown, wireGallery } from "./gallery.js";
import { requestKey, wireKey } from "./key.js";
import { wireLandmark } from "./landmark.js";
import { wireNewLandmark } from "./new_landmark.js";
import { wireExplanation } from "./explanation.js";
import { chooseLanguage } from "./text.js";

const VIEWS = ["recognize", "gallery"];

async function start() {
  await chooseLanguage();
  openPage(JSON.parse(byId("config").textContent));
}

function openPage(config) {
  if (config.title) byId("brand").textContent = config.title;
  wireKey(config, () => {
    dispatchEvent(new Event("key-changed"));
    if (location.hash === "#gallery") refresh();
  });
  wireExplanation();
  wireGallery(config);
  wireLandmark();
  wireNewLandmark(config, refresh);
  wireRecognize(config);
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

function watchConnection() {
  const update = () => (byId("offline").hidden = navigator.onLine);
  addEventListener("online", update);
  addEventListener("offline", update);
  update();
}

addEventListener("key-wanted", () => requestKey());
watchConnection();
start();
