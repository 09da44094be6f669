// The form for the credit of one photo or several: author, licence and its address, source.

import { fetchJson, photoPath } from "./api.js";
import { byId, closeDialog, forgetForms, makeClosable, put, watchForm } from "./dom.js";
import { clearFaults, faultAt, isWebAddress } from "./form_faults.js";
import { notify } from "./notices.js";
import { forEachPhoto, picturesOf, showFailures } from "./photo_changes.js";
import { t } from "./text.js";

const CREDIT_FIELDS = ["author", "licence", "licence_url", "source"];

let finish = null; // resolves the promise of the open form

export function wireCredits() {
  makeClosable(byId("credits")).addEventListener("close", () => {
    finish?.(false);
    finish = null;
  });
  byId("credits-cancel").addEventListener("click", () => closeDialog(byId("credits")));
  byId("credits-form").addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
}

const edited = { photos: [], before: {}, host: null };

/** Ask for the credit of photos, and save it. Resolves to whether something changed. */
export function creditPhotos(photos) {
  Object.assign(edited, { photos, before: {} });
  put(byId("credits-pictures"), picturesOf(photos));
  put(byId("credits-progress"));
  byId("credits-title").textContent = t("edit.credit_photos", { n: photos.length });
  clearFaults(byId("credits-form"));
  for (const name of CREDIT_FIELDS) {
    const values = new Set(photos.map((photo) => photo[name] ?? ""));
    const field = byId(`credits-${name}`);
    edited.before[name] = field.value = values.size === 1 ? [...values][0] : "";
    field.placeholder = values.size === 1 ? "" : t("edit.several_values");
  }
  byId("credits").showModal();
  watchForm(byId("credits-form"));
  byId("credits-author").focus();
  return new Promise((resolve) => (finish = resolve));
}

async function save() {
  const form = byId("credits-form");
  clearFaults(form);
  const body = {};
  for (const name of CREDIT_FIELDS) {
    const value = byId(`credits-${name}`).value.trim();
    if (value !== edited.before[name]) body[name] = value || null;
  }
  for (const name of ["licence_url", "source"])
    if (body[name] && !isWebAddress(body[name]))
      return faultAt(byId(`credits-${name}`), t("edit.source_fault"));
  // Because the server takes the address of the old licence away with it.
  if ("licence" in body) body.licence_url ??= byId("credits-licence_url").value.trim() || null;
  if (!Object.keys(body).length) return closeSaved(false);
  byId("credits-save").disabled = true;
  const done = await forEachPhoto(edited.photos, byId("credits-progress"), ({ id }) =>
    fetchJson(photoPath(id), { method: "PATCH", body }),
  );
  byId("credits-save").disabled = false;
  if (done.failed.length) return showFailures(byId("credits-progress"), done);
  notify(t("edit.credited", { n: done.replies.length }));
  closeSaved(true);
}

function closeSaved(changed) {
  forgetForms(byId("credits"));
  const resolve = finish;
  finish = null;
  byId("credits").close();
  resolve?.(changed);
}
