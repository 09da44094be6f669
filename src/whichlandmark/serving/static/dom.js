// Create DOM elements without parsing markup, so that no name can inject code.

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

/** Announce text to screen readers, after pending announcements. */
export function announce(words) {
  const line = el("p", {}, words);
  byId("live").append(line);
  setTimeout(() => line.remove(), 10000);
}

/** Let a dialog be closed by its Close button and by a click outside (Escape works anyway). */
export function makeClosable(dialog) {
  dialog.addEventListener("click", (event) => {
    const beside = event.target === dialog && event.detail > 0;
    if (beside || event.target.closest("[data-close]")) dialog.close();
  });
  return dialog;
}

/** Show the confirmation dialog; resolves to true or false. */
export function confirmAction(title, words, yes = "Remove") {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-words").textContent = words;
  byId("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  byId("confirm-no").focus();
  return new Promise((resolve) => {
    byId("confirm-yes").onclick = () => dialog.close("yes");
    byId("confirm-no").onclick = () => dialog.close("no");
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
  });
}

export const prefersReducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
