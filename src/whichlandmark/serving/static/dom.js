// Create DOM elements without parsing markup, so that no name can inject code; dialogs.

import { t } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An element with its attributes, listeners (on: {click}) and children (nodes or text). */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG elements. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...present(children));
  return node;
}

const present = (children) => children.flat().filter((child) => child != null && child !== false);

/** Replace the children of a node; null and false are left out. */
export function put(node, ...children) {
  node.replaceChildren(...present(children));
}

/** Replace an image that cannot be shown by a text. */
export function replaceImage(image, text) {
  const label = image.alt ? `${image.alt} (${text})` : text;
  const placeholder = el("div", { class: "missing", role: "img", "aria-label": label }, text);
  placeholder.style.cssText = image.style.cssText; // same size and place
  image.replaceWith(placeholder);
}

export function button(words, click, attributes = {}) {
  return el("button", { type: "button", on: { click }, ...attributes }, words);
}

/** A link to another site; nothing is loaded from there. */
export const outLink = (href, words) =>
  el("a", { href, target: "_blank", rel: "noopener noreferrer" }, words);

/** Announce text to screen readers, after pending announcements. */
export function announce(words) {
  const line = el("p", {}, words);
  byId("live").append(line);
  setTimeout(() => line.remove(), 10000);
}

// ——— forms whose contents must not be lost in silence

const saved = new WeakMap(); // form → its contents when it was shown or saved

const contentsOf = (form) =>
  JSON.stringify(
    [...form.elements]
      .filter((field) => field.type !== "submit" && field.type !== "button")
      .map((field) => (field.type === "checkbox" ? field.checked : field.value)),
  );

/** Ask before a form is left whose contents differ from those of now. */
export const watchForm = (form) => saved.set(form, contentsOf(form));

/** Forget the contents of the watched forms within a node: they were saved, or are given up. */
export function forgetForms(root) {
  for (const form of root.querySelectorAll("form")) saved.delete(form);
}

/** Whether a watched form within a node was changed. */
export const hasChanges = (root = document) =>
  [...root.querySelectorAll("form")].some(
    (form) => saved.has(form) && saved.get(form) !== contentsOf(form),
  );

/** Whether the forms within a node may be left: the reader is asked where one was changed. */
export async function mayLeave(root = document) {
  if (!hasChanges(root)) return true;
  const leave = await confirmAction(t("edit.leave"), t("edit.leave_words"), t("edit.discard"), {
    no: t("edit.stay"),
  });
  if (leave) forgetForms(root);
  return leave;
}

// ——— dialogs

/** Close a dialog, after asking where it holds changes. */
export async function closeDialog(dialog) {
  if (await mayLeave(dialog)) dialog.close();
}

/** Let a dialog be closed by its Close button, a click outside, and Escape; changes are kept. */
export function makeClosable(dialog) {
  let pressed = null; // where the pointer went down: a selection of text may end outside
  dialog.addEventListener("pointerdown", (event) => (pressed = event.target));
  dialog.addEventListener("click", (event) => {
    const beside = event.target === dialog && pressed === dialog && event.detail > 0;
    if (beside || event.target.closest("[data-close]")) closeDialog(dialog);
  });
  const escaped = (event) => {
    if (event.target.closest("dialog") !== dialog || !hasChanges(dialog)) return;
    event.preventDefault();
    closeDialog(dialog);
  };
  dialog.addEventListener("keydown", (event) => event.key === "Escape" && escaped(event));
  dialog.addEventListener("cancel", (event) => event.target === dialog && escaped(event));
  dialog.addEventListener("close", (event) => {
    if (event.target !== dialog || !hasChanges(dialog)) return;
    event.stopImmediatePropagation(); // browsers close a dialog whose "cancel" was refused before
    dialog.showModal();
    closeDialog(dialog);
  });
  return dialog;
}

/** Show the confirmation dialog; resolves to true or false. extra: nodes below the words. */
export function confirmAction(
  title,
  words,
  yes = t("common.remove"),
  { no = t("common.keep"), extra = [] } = {},
) {
  const dialog = byId("confirm");
  if (dialog.open) return Promise.resolve(false); // another question is still open
  byId("confirm-title").textContent = title;
  byId("confirm-words").textContent = words;
  byId("confirm-yes").textContent = yes;
  byId("confirm-no").textContent = no;
  put(byId("confirm-extra"), ...extra);
  dialog.showModal();
  byId("confirm-no").focus({ preventScroll: true });
  return new Promise((resolve) => {
    const answer = (yes) => () => {
      resolve(yes);
      dialog.close();
    };
    byId("confirm-yes").onclick = answer(true);
    byId("confirm-no").onclick = answer(false);
    // a late event of the question before is not an answer to this one
    dialog.onclose = () => dialog.open || resolve(false);
  });
}

/**
 * The dialog that is on top, or the body: what is outside of it cannot be reached. but: a selector
 * of dialogs that do not count.
 */
export const topLayer = (but = "none") =>
  [...document.querySelectorAll("dialog[open]")].findLast((one) => !one.matches(but)) ??
  document.body;

export const prefersReducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
