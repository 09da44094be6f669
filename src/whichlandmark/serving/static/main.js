// The page's entry point: read the configuration, set up the views, start a card for each photo.

import { answerCard } from "./answer.js";
import { recognizePhoto } from "./recognize.js";
import { byId } from "./dom.js";
import { showGallery, showKnown, wireGallery } from "./gallery.js";
import { wireUpload } from "./upload.js";
import { wireKey } from "./key.js";
import { closeLandmark, openLandmark, wireLandmark } from "./landmark.js";
import { wireEdit } from "./landmark_edit.js";
import { wirePicker } from "./landmark_picker.js";
import { wireNewLandmark } from "./new_landmark.js";
import { wireNotices } from "./notices.js";
import { wireCredits } from "./photo_credits.js";
import { wirePhoto } from "./photo_view.js";
import { showReview, wireReview } from "./review.js";
import { wireRouter } from "./router.js";
import { showUnlabelled, wireUnlabelled } from "./unlabelled.js";
import { wireExplanation } from "./explanation.js";
import { counted } from "./format.js";
import { chooseLanguage } from "./text.js";

const cards = new Set();

async function start() {
  await chooseLanguage();
  openPage(JSON.parse(byId("config").textContent));
}

function openPage(config) {
  if (config.title) byId("brand").textContent = config.title;
  wireKey(config);
  wireExplanation();
  wireGallery();
  wireLandmark();
  wireEdit();
  wirePicker();
  wirePhoto();
  wireCredits();
  wireNewLandmark(config);
  wireUnlabelled(config);
  wireReview();
  wireNotices();
  wireUpload((files) => take(files, config));
  byId("clear").addEventListener("click", clear);
  document.documentElement.dataset.ready = "yes";
  const views = {
    recognize: { show: () => null },
    gallery: { show: showGallery },
    unlabelled: { show: showUnlabelled },
    review: { show: showReview },
  };
  wireRouter(views, { open: (label) => openLandmark(label, config), close: closeLandmark });
  showKnown();
}

/** Add a card for each photo: the newest batch on top, its photos in the given order. */
function take(files, config) {
  if (byId("recognize").hidden) location.hash = "#recognize";
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
    answer.card.addEventListener("key-wanted", () =>
      addEventListener("key-changed", () => job.retry(), { once: true }),
    );
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

watchConnection();
start();
