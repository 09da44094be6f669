// Notes at the foot of the page: what was done, and for a minute a way to undo it.

import { fetchJson, problemText } from "./api.js";
import { announce, button, byId, el, topLayer } from "./dom.js";
import { withKey } from "./key.js";
import { t } from "./text.js";

const SHOWN_SECONDS = 12; // of a notice without anything to undo
const MAX_NOTICES = 3; // more are kept only while they can be undone

const notices = []; // newest last: {node, undo, timer}

/** Keep notices and announcements within reach: inside the dialog that is on top, if any. */
export function wireNotices() {
  new MutationObserver(moveNotices).observe(document.body, {
    attributeFilter: ["open"],
    subtree: true,
  });
  addEventListener("keydown", (event) => {
    const undoes = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey);
    const last = notices.findLast(({ undo }) => undo);
    if (!undoes || event.shiftKey || !last || event.target.matches?.("input, textarea")) return;
    event.preventDefault();
    last.undo();
  });
}

const QUESTIONS = "#confirm, .large, dialog:has(> form)"; // where notices would be in the way

function moveNotices() {
  for (const [node, host] of [
    [byId("notices"), topLayer(QUESTIONS)],
    [byId("live"), topLayer()],
  ])
    if (node.parentNode !== host) host.append(node);
}

/**
 * Say what was done; undo() undoes it within some seconds and resolves to what to say then. Returns
 * a function that takes the notice away.
 */
export function notify(words, undo = null, seconds = SHOWN_SECONDS) {
  const until = Date.now() + 1000 * seconds;
  const left = el("span", { class: "n small", "aria-hidden": "true" });
  const node = el("div", { class: "toast" }, el("p", {}, words, " ", left));
  const entry = { node, undo: null, timer: 0 };
  if (undo) {
    entry.undo = () => undone(entry, undo);
    const label = `${t("edit.undo")}: ${words}`;
    node.append(button(t("edit.undo"), entry.undo, { "aria-label": label }));
  }
  const close = { class: "quiet", "aria-label": t("common.close") };
  node.append(button("×", () => dropNotice(entry), close));
  const tick = () => {
    const rest = Math.ceil((until - Date.now()) / 1000);
    if (rest <= 0) return dropNotice(entry);
    if (undo) left.textContent = t("edit.seconds_left", { n: rest });
  };
  entry.timer = setInterval(tick, 500);
  tick();
  notices.push(entry);
  byId("notices").append(node);
  const old = notices.find((one) => !one.undo);
  if (notices.length > MAX_NOTICES && old) dropNotice(old);
  moveNotices();
  announce(undo ? `${words} ${t("edit.can_undo", { n: Math.round(seconds) })}` : words);
  return () => dropNotice(entry);
}

function dropNotice(entry) {
  clearInterval(entry.timer);
  const focused = entry.node.contains(document.activeElement);
  entry.node.remove();
  const place = notices.indexOf(entry);
  if (place >= 0) notices.splice(place, 1);
  if (!focused) return;
  (topLayer().querySelector("h2[tabindex], h1:not([hidden] *)") ?? byId("main")).focus();
}

async function undone(entry, undo) {
  dropNotice(entry);
  try {
    notify(await undo());
  } catch (error) {
    notify(problemText(error));
  }
  dispatchEvent(new Event("gallery-changed"));
}

/** Offer to undo a removal, where the server can. reply: the server's to it. */
export function offerUndo(words, { undo: token, undo_seconds: seconds = 60 }, restored) {
  if (!token) return notify(words);
  const path = `v1/undo/${encodeURIComponent(token)}`;
  const undo = async () => {
    await withKey(() => fetchJson(path, { method: "POST" }));
    return restored;
  };
  notify(words, undo, Math.max(1, seconds - 1));
}
