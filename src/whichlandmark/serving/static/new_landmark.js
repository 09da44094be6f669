// The dialog that adds a landmark with its first photos.

import { addPhotos } from "./add_photos.js";
import { byId, forgetForms, makeClosable, put, watchForm } from "./dom.js";
import { clearFaults, faultAt } from "./form_faults.js";
import { notify } from "./notices.js";
import { t } from "./text.js";

/** Set up the dialog. */
export function wireNewLandmark(config) {
  const dialog = makeClosable(byId("new"));
  byId("landmark-new").addEventListener("click", () => {
    byId("new-form").reset();
    clearFaults(byId("new-form"));
    put(byId("new-progress"));
    dialog.showModal();
    watchForm(byId("new-form"));
    byId("new-name").focus();
  });
  byId("new-form").addEventListener("submit", (event) => {
    event.preventDefault();
    addLandmark(dialog, config);
  });
}

async function addLandmark(dialog, config) {
  clearFaults(byId("new-form"));
  const [name, files] = [byId("new-name").value.trim(), [...byId("new-files").files]];
  if (!name) return faultAt(byId("new-name"), t("edit.new_name_fault"));
  if (!files.length) return faultAt(byId("new-files"), t("edit.new_files_fault"));
  byId("new-add").disabled = true;
  const done = await addPhotos(name, files, config, byId("new-progress"));
  byId("new-add").disabled = false;
  if (!done.added && !done.there) return;
  forgetForms(dialog);
  dispatchEvent(new Event("gallery-changed"));
  if (done.failed.length || done.elsewhere.length) return;
  if (dialog.open) dialog.close();
  notify(t("landmark.added_to", { n: done.added, name }));
}
