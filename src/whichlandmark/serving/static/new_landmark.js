// The dialog that adds a new landmark: its name and its first photos.

import { addPhotos } from "./add_photos.js";
import { byId, closable, put } from "./dom.js";

/** refresh() is called after the landmark was added. */
export function wireNewLandmark(config, refresh) {
  const dialog = closable(byId("new"));
  const problem = (words) => (byId("new-problem").textContent = words);
  byId("landmark-new").addEventListener("click", () => {
    byId("new-form").reset();
    problem("");
    put(byId("new-progress"));
    dialog.showModal();
    byId("new-name").focus();
  });
  byId("new-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const [name, files] = [byId("new-name").value.trim(), [...byId("new-files").files]];
    if (!name) return missing("new-name", problem("Give it a name."));
    if (!files.length) return missing("new-files", problem("Choose at least one photo of it."));
    problem("");
    byId("new-add").disabled = true;
    const done = await addPhotos(name, files, config, byId("new-progress"));
    byId("new-add").disabled = false;
    if (done.added) await refresh();
    if (done.added && !done.failed.length) dialog.close();
  });
}

const missing = (id) => byId(id).focus();
