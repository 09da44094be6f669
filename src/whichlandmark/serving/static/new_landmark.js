// The dialog that adds a landmark with its first photos.

import { addPhotos } from "./add_photos.js";
import { byId, makeClosable, put } from "./dom.js";

/** Set up the dialog. refresh() is called after a landmark was added. */
export function wireNewLandmark(config, refresh) {
  const dialog = makeClosable(byId("new"));
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
    if (!name) return missing("new-name", problem("Enter a name."));
    if (!files.length) return missing("new-files", problem("Choose at least one photo."));
    problem("");
    byId("new-add").disabled = true;
    const done = await addPhotos(name, files, config, byId("new-progress"));
    byId("new-add").disabled = false;
    if (done.added) await refresh();
    if (done.added && !done.failed.length) dialog.close();
  });
}

const missing = (id) => byId(id).focus();
