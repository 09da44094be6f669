// The dialog for the API key. The key is stored in sessionStorage: for this tab only.

import { key } from "./api.js";
import { byId, makeClosable } from "./dom.js";

let onKey = null; // called when a key was entered
let onCancel = null; // called when the dialog is closed without a key

/** Set up the dialog. changed() is called after a key was entered or removed. */
export function wireKey(config, changed) {
  const dialog = makeClosable(byId("key"));
  byId("key-open").hidden = config.read !== "key" && config.write !== "key";
  byId("key-open").addEventListener("click", () => requestKey());
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const value = byId("key-value").value.trim();
    if (!value) return;
    key.set(value);
    const proceed = onKey;
    onCancel = null;
    dialog.close();
    changed();
    proceed?.();
  });
  byId("key-forget").addEventListener("click", () => {
    key.forget();
    dialog.close();
    changed();
  });
  dialog.addEventListener("close", () => {
    byId("key-value").value = "";
    onCancel?.();
    onKey = onCancel = null;
  });
}

/** Open the dialog. proceed() is called when a key was entered, cancel() when it is closed without. */
export function requestKey(text = "", proceed = null, cancel = null) {
  onKey = proceed;
  onCancel = cancel;
  byId("key-open").hidden = false;
  byId("key-words").textContent =
    text ||
    (key.get()
      ? "A key is in use. Enter another one, or forget it."
      : "This server requires an API key.");
  byId("key-forget").hidden = !key.get();
  if (!byId("key").open) byId("key").showModal();
  byId("key-value").focus();
}

/** Run an action; when the server requires a key, ask for one and run it again. */
export async function withKey(action) {
  try {
    return await action();
  } catch (error) {
    if (error.kind !== "key") throw error;
    return new Promise((resolve, reject) => {
      requestKey(
        error.message,
        () => action().then(resolve, reject),
        () => reject(error),
      );
    });
  }
}
