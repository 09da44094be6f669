// The key of the server: asked for on arrival or when a request needs it, checked before it is
// kept, and stored in sessionStorage: for this tab only.

import { fetchJson, key, Problem, problemText } from "./api.js";
import { announce, button, byId, el, makeClosable } from "./dom.js";
import { numberText, t } from "./text.js";

const access = { config: {}, write: null, open: 0 }; // write: null = not known yet
const afterKey = new Set(); // {proceed, cancel} of what goes on after the right key
let writing = false; // whether something of these needs a key that may write
let countdown = 0;

/** Set up the form; on arrival it stands above everything else where the server needs a key. */
export function wireKey(config) {
  access.config = config;
  const dialog = makeClosable(byId("key"));
  byId("key-open").hidden = config.read !== "key" && config.write !== "key";
  byId("key-open").addEventListener("click", () => askForKey());
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(cleaned(byId("key-value").value));
  });
  byId("key-forget").addEventListener("click", () => {
    key.forget();
    changed();
    if (dialog.open) dialog.close();
    arrive();
  });
  dialog.addEventListener("close", () => {
    if (byId("key-form").parentNode !== dialog) return; // it was moved to the panel
    byId("key-value").value = "";
    for (const one of [...afterKey].filter(({ cancel }) => cancel)) {
      afterKey.delete(one);
      one.cancel();
    }
  });
  addEventListener("key-wanted", ({ detail }) => askForKey(detail));
  arrive();
}

/** Whether nothing can be asked of the server before a key is entered. */
export const needsKey = () => access.config.read === "key" && !key.get();

function arrive() {
  if (needsKey()) sayKeyNeeded(null);
}

/** Say above everything else that a key is needed, without taking the focus. problem: why. */
export function sayKeyNeeded(problem) {
  explain(problem);
  toPanel();
}

/** What people copy along with a key: blanks, quotes, the word before it. */
const cleaned = (text) =>
  text
    .trim()
    .replace(/^bearer\s+/i, "")
    .replace(/^["']|["']$/g, "");

function changed(write = null) {
  access.write = write;
  dispatchEvent(new Event("key-changed"));
}

/**
 * Ask for a key. proceed() is called when the right one was entered, cancel() when the dialog is
 * closed without. problem: the Problem because of which it is asked for.
 */
export function askForKey(problem = null, proceed = null, cancel = null) {
  if (proceed) afterKey.add({ proceed, cancel });
  writing ||= problem?.kind === "forbidden";
  byId("key-open").hidden = false;
  explain(problem);
  const forReading = access.config.read === "key" && problem?.kind !== "forbidden";
  if (!document.querySelector("dialog[open]") && forReading && (problem || !key.get())) toPanel();
  else toDialog();
  byId("key-value").focus();
  byId("key-value").scrollIntoView({ block: "center" }); // also while the page scrolls to a card
}

/** Run an action; where it needs another key, ask for it and run it again. */
export async function withKey(action) {
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (error.kind !== "key" && error.kind !== "forbidden") throw error;
      await new Promise((resolve, reject) => askForKey(error, resolve, () => reject(error)));
    }
  }
}

function toPanel() {
  if (byId("key").open) return;
  byId("key-panel").append(byId("key-form"));
  byId("key-close").hidden = true;
  byId("key-panel").hidden = false;
  document.documentElement.toggleAttribute("data-no-key", true);
}

function toDialog() {
  const dialog = byId("key");
  if (dialog.open) return;
  byId("key-panel").hidden = true;
  byId("key-close").hidden = false;
  dialog.append(byId("key-form"));
  dialog.showModal();
}

/** Say why a key is asked for. */
function explain(problem) {
  const reading = access.config.read === "key";
  let reason = reading ? "needed" : "needed_to_write";
  if (problem?.kind === "forbidden") reason = "reads_only";
  else if (problem && key.get()) reason = "unknown";
  else if (key.get()) reason = "in_use";
  byId("key-title").textContent = t(`key.${reason}`);
  byId("key-words").textContent = t(`key.${reason}_words`);
  byId("key-forget").hidden = !key.get();
  keyProblem(problem?.code === "too_many_wrong_keys" ? problem : null);
}

/** Check a key, keep it where it is right, and go on with what waits for it. */
async function useKey(value) {
  if (!value) return keyProblem(t("key.missing"));
  if (!/^[\x21-\x7e]+$/.test(value)) return keyProblem(t("key.wrong"));
  byId("key-use").disabled = true;
  keyProblem(null);
  try {
    if (access.config.read === "key") await fetchJson("v1/landmarks?limit=1", { keyValue: value });
    const write = await mayWriteWith(value);
    if (!write && (writing || access.config.read !== "key")) return keyProblem(t("key.only_reads"));
    key.set(value);
    changed(write);
    proceedAll();
  } catch (error) {
    keyProblem(error);
  } finally {
    byId("key-use").disabled = countdown > 0;
  }
}

function proceedAll() {
  const all = [...afterKey];
  afterKey.clear();
  writing = false;
  const inPanel = !byId("key-panel").hidden;
  byId("key-panel").hidden = true;
  document.documentElement.toggleAttribute("data-no-key", false);
  byId("key-value").value = "";
  if (byId("key").open) byId("key").close();
  else byId("key").append(byId("key-form"));
  if (inPanel) document.querySelector("main > section:not([hidden]) h1")?.focus();
  announce(t("key.accepted"));
  for (const { proceed } of all) proceed();
}

/** Show what is wrong with the entered key: a text, or a Problem with the time to wait. */
function keyProblem(problem) {
  clearInterval(countdown);
  countdown = 0;
  byId("key-use").disabled = false;
  const field = byId("key-value");
  if (problem) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
  const words = byId("key-problem");
  if (problem?.code === "too_many_wrong_keys") return waitForTries(problem.wait ?? 60, words);
  if (!problem) words.textContent = "";
  else if (typeof problem === "string") words.textContent = problem;
  else if (problem.kind === "key") words.textContent = t("key.wrong");
  else words.textContent = problemText(problem);
  if (problem && field.isConnected) field.focus();
}

function waitForTries(wait, words) {
  const until = Date.now() + 1000 * wait;
  const use = byId("key-use");
  use.disabled = true;
  const tick = () => {
    const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    words.textContent = left ? t("key.too_many", { time: numberText(left) }) : "";
    if (left) return;
    clearInterval(countdown);
    countdown = 0;
    use.disabled = false;
  };
  countdown = setInterval(tick, 1000);
  tick();
}

/** Whether a key may change the gallery. Throws the Problem of a key that is not known. */
async function mayWriteWith(keyValue) {
  try {
    const { open = 0 } = await fetchJson("v1/feedback?state=open&limit=1", { keyValue });
    access.open = open;
    return true;
  } catch (error) {
    if (error.kind === "forbidden") return false;
    if (error.kind === "key" || error.kind === "unreachable") throw error;
    return true; // a server without a list of feedback: the first change tells
  }
}

/** Whether the caller may change the gallery: {write, open: number of feedback to review}. */
export async function writeAccess() {
  const { config } = access;
  if (config.write === "key" && !key.get()) return { write: false, open: 0 };
  if (access.write !== null) return access;
  const found = await mayWriteWith(key.get()).catch((error) => error.kind !== "key" && null);
  access.write = found; // null = the server did not answer: it is asked again
  return found === null ? { write: true, open: 0 } : access;
}

/** The number of feedback to review changed. */
export const setOpenFeedback = (open) => (access.open = open);

/** Fill a node with a note where changes need another key; it goes when there is one. */
export async function writeNote(host) {
  const { write } = await writeAccess();
  host.replaceChildren();
  host.hidden = write || needsKey();
  if (host.hidden) return;
  const words = key.get() ? t("key.note_reads_only") : t("key.note");
  const ask = () => {
    writing = true;
    askForKey(key.get() ? new Problem("forbidden", "") : null, () => {});
  };
  host.append(el("span", {}, words), button(t("key.enter"), ask, { class: "quiet" }));
}
