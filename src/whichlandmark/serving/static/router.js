// The addresses of the page's views: #recognize, #gallery, #gallery/LABEL, #unlabelled, #review,
// #discoveries.

import { byId, forgetForms, hasChanges, mayLeave } from "./dom.js";

const VIEWS = ["recognize", "gallery", "unlabelled", "review", "discoveries"];
const LINKS = {
  recognize: "to-recognize",
  gallery: "to-gallery",
  unlabelled: "to-gallery",
  review: "to-review",
  discoveries: "to-discoveries",
};

const current = {
  hash: null,
  view: "",
  landmark: null,
  inside: false,
  asking: false,
  focus: null,
  scrolls: {},
};

/** The address of a landmark within this page. */
export const landmarkHash = (landmark) => `#gallery/${encodeURIComponent(landmark)}`;

/** The parts of an address: {view, landmark, values}; null for a link within a view. */
function parseHash(hash) {
  const text = hash.replace(/^#/, "");
  if (text.startsWith("gallery/") && text.length > 8)
    return { view: "gallery", landmark: decoded(text.slice(8)), values: {} };
  const [view, query = ""] = text.replace(/^gallery\/$/, "gallery").split("?");
  const values = Object.fromEntries(new URLSearchParams(query));
  if (!view) return { view: VIEWS[0], landmark: null, values };
  return VIEWS.includes(view) ? { view, landmark: null, values } : null;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // typed by hand, with a % of its own
  }
}

/**
 * Follow the address. views: name → {show(values)}; landmark: {open(label), close()} of the
 * dialog, whose title is the page's meanwhile.
 */
export function wireRouter(views, landmark) {
  addEventListener("hashchange", () => follow(views, landmark, true));
  history.scrollRestoration = "manual"; // because a view is hidden while browsers would restore
  addEventListener("scroll", () => (current.scrolls[current.view] = scrollY));
  addEventListener("beforeunload", (event) => {
    if (hasChanges()) event.preventDefault();
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // because the address names the view
    byId("main").focus();
    byId("main").scrollIntoView();
  });
  follow(views, landmark, false);
}

async function follow(views, landmark, moved) {
  const hash = location.hash;
  const found = parseHash(hash) ?? (current.view ? null : parseHash(""));
  if (!found || current.asking || (moved && hash === current.hash)) return;
  if (moved && hasChanges()) {
    history.pushState(null, "", current.hash || "#recognize"); // stay until the reader has decided
    current.asking = true;
    const leave = await mayLeave();
    current.asking = false;
    if (!leave) return;
    location.hash = hash || "#recognize";
    return;
  }
  const before = current.landmark;
  const again = history.state?.seen ?? false; // Back or Forward
  history.replaceState({ seen: true }, "");
  Object.assign(current, { hash, landmark: found.landmark, inside: moved });
  closeDialogs(found.landmark === null ? null : byId("landmark"));
  if (found.landmark !== null) {
    if (!current.view) await showView(views, found, false);
    return landmark.open(found.landmark);
  }
  landmark.close();
  if (before !== null && found.view === current.view && moved) {
    setTitle();
    if (document.activeElement === document.body) current.focus?.focus();
    return views[found.view].show(found.values, false);
  }
  showView(views, found, moved, again ? (current.scrolls[found.view] ?? 0) : 0);
}

function closeDialogs(kept) {
  for (const dialog of document.querySelectorAll("dialog[open]")) {
    if (dialog === kept || dialog.id === "landmark" || dialog.id === "key") continue;
    forgetForms(dialog);
    dialog.close();
  }
}

function showView(views, { view, values }, moved, scroll = 0) {
  const scrolled = current.view !== view;
  current.view = view;
  for (const name of VIEWS) byId(name).hidden = name !== view;
  for (const id of new Set(Object.values(LINKS))) byId(id).removeAttribute("aria-current");
  byId(LINKS[view]).setAttribute("aria-current", "page");
  setTitle();
  const shown = views[view].show(values, moved);
  if (moved) byId(`${view}-title`).focus({ preventScroll: !scrolled });
  if (moved && scrolled) scrollTo(0, scroll);
  return shown;
}

/** Name the page after its view, or after what is open in it. */
export function setTitle(words = byId(`${current.view}-title`).textContent) {
  document.title = `${words} – ${byId("brand").textContent}`;
}

/** Change the address of what is shown, as after a search: no step of the browser's history. */
export function renameAddress(hash) {
  current.hash = hash;
  const found = parseHash(hash);
  if (found) current.landmark = found.landmark;
  history.replaceState(history.state, "", hash);
}

/** Go to another address in place of this one. */
export function replaceAddress(hash) {
  history.replaceState(null, "", hash);
  dispatchEvent(new Event("hashchange"));
}

/** Leave the landmark: back to where it was opened, else to the gallery. */
export function leaveLandmark() {
  if (current.landmark === null) return;
  current.focus = document.activeElement; // browsers take the focus away when the address changes
  if (current.inside) return history.back();
  renameAddress("#gallery");
  setTitle();
}
