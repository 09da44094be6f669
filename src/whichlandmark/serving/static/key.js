// The API key dialog; the key is kept for this tab only.

import { key } from "./api.js";
import { byId, closable } from "./dom.js";

let then = null; // what goes on with a key
let without = null; // what is done when none is given

/** changed() is called after a key was given or forgotten. */
export function wireKey(config, changed) {
  const dialog = closable(byId("key"));
  byId("key-open").hidden = config.read !== "key" && config.write !== "key";
  byId("key-open").addEventListener("click", () => wantKey());
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const value = byId("key-value").value.trim();
    if (!value) return;
    key.set(value);
    const goOn = then;
    without = null;
    dialog.close();
    changed();
    goOn?.();
  });
  byId("key-forget").addEventListener("click", () => {
    key.forget();
    dialog.close();
    changed();
  });
  dialog.addEventListener("close", () => {
    byId("key-value").value = "";
    without?.();
    then = without = null;
  });
}

/** Ask for a key; goOn() is called once one was given, giveUp() when the dialog is left without. */
export function wantKey(words = "", goOn = null, giveUp = null) {
  then = goOn;
  without = giveUp;
  byId("key-open").hidden = false;
  byId("key-words").textContent =
    words ||
    (key.get()
      ? "A key is in use. Give another one, or forget it."
      : "This server asks for a key.");
  byId("key-forget").hidden = !key.get();
  if (!byId("key").open) byId("key").showModal();
  byId("key-value").focus();
}

/** Run an action; when the server requires a key, ask for one and run it again. */
export async function keyed(action) {
  try {
    return await action();
  } catch (error) {
    if (error.kind !== "key") throw error;
    return new Promise((resolve, reject) => {
      wantKey(
        error.message,
        () => action().then(resolve, reject),
        () => reject(error),
      );
    });
  }
}
