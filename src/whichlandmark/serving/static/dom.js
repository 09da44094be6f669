// Create elements without markup strings, so that names from outside are always text.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An element with its attributes, listeners (on: {click}) and children (nodes or text). */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for a picture's parts. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...there(children));
  return node;
}

const there = (children) => children.flat().filter((child) => child != null && child !== false);

/** Put children in place of what a node holds; null and false are left out. */
export function put(node, ...children) {
  node.replaceChildren(...there(children));
}

/** Replace a picture that cannot be shown by words. */
export function pictureless(image, words) {
  const label = image.alt ? `${image.alt} (${words})` : words;
  const instead = el("div", { class: "missing", role: "img", "aria-label": label }, words);
  instead.style.cssText = image.style.cssText; // where it stood
  image.replaceWith(instead);
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

/** A dialog that its Close button, Escape and a click beside it close; focus goes back by itself. */
export function closable(dialog) {
  dialog.addEventListener("click", (event) => {
    const beside = event.target === dialog && event.detail > 0;
    if (beside || event.target.closest("[data-close]")) dialog.close();
  });
  return dialog;
}

/** Ask before something is lost: resolves to true or false. */
export function confirmed(title, words, yes = "Remove") {
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

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
