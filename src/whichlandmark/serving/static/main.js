// The page's entry point: read the configuration and set up the views.

import { wireRecognize } from "./answer_list.js";
import { showDiscoveries, wireDiscoveries } from "./discoveries.js";
import { byId } from "./dom.js";
import { showGallery, showKnown, wireGallery } from "./gallery.js";
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
import { chooseLanguage } from "./text.js";

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
  wireDiscoveries();
  wireNotices();
  wireRecognize(config);
  document.documentElement.dataset.ready = "yes";
  const views = {
    recognize: { show: () => null },
    gallery: { show: showGallery },
    unlabelled: { show: showUnlabelled },
    review: { show: showReview },
    discoveries: { show: showDiscoveries },
  };
  wireRouter(views, { open: (label) => openLandmark(label, config), close: closeLandmark });
  showKnown();
}

function watchConnection() {
  const update = () => (byId("offline").hidden = navigator.onLine);
  addEventListener("online", update);
  addEventListener("offline", update);
  update();
}

watchConnection();
start();
