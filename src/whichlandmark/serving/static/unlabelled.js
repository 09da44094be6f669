// The view of the photos without a landmark, with the same tools as the photos of a landmark.

import { fetchJson, problemText, withQuery } from "./api.js";
import { askForKey, needsKey, writeNote } from "./key.js";
import { button, byId, el, put } from "./dom.js";
import { photoGrid } from "./photo_grid.js";
import { t } from "./text.js";

const unlabelled = { grid: null, host: null };

export function wireUnlabelled(config) {
  const host = el("div");
  const state = el("div", { class: "state", hidden: true });
  unlabelled.host = host;
  unlabelled.grid = photoGrid({
    list: (offset, limit) => fetchJson(withQuery("v1/distractors", { offset, limit })),
    landmark: "",
    title: t("landmark.none"),
    config,
    host,
    changed: (total) => {
      byId("unlabelled-count").textContent = t("common.photos", { n: total });
      showWords(state, total ? [] : [el("p", { class: "lead" }, t("gallery.no_unlabelled"))]);
    },
    failed: (error) => {
      const words = problemText(error);
      const again = button(t("common.try_again"), showUnlabelled);
      showWords(state, [el("p", { class: "problem", role: "alert" }, words), again]);
      if (error.kind === "key") askForKey(error, showUnlabelled);
    },
  });
  put(byId("unlabelled-body"), host, state, unlabelled.grid.node);
  const reload = ({ detail }) => {
    if (!byId("unlabelled").hidden && detail !== host) showUnlabelled();
  };
  addEventListener("gallery-changed", reload);
  addEventListener("key-changed", reload);
}

function showWords(state, children) {
  state.hidden = !children.length;
  put(state, ...children);
}

/** Load and show the photos. */
export async function showUnlabelled() {
  writeNote(byId("unlabelled-note"));
  if (needsKey()) return;
  await unlabelled.grid.load();
}
