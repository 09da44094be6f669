// The question whether an answer is right; the reply waits on the server for a person to review it.

import { fetchJson } from "./api.js";
import { announce, button, el, put } from "./dom.js";
import { sentence, titled } from "./format.js";
import { t } from "./text.js";

let fields = 0; // for unique ids

/** The feedback form of an answer. entry: {answer, request, photo, name}. */
export function feedback(entry) {
  const { answer } = entry;
  const box = el("div", { class: "feedback", role: "group", "aria-label": t("next.right") });
  const keep = el("input", { id: `keep-${(fields += 1)}`, type: "checkbox" });
  const asked = { box, answer, keep };
  asked.send = async (right, correct, note = "") => {
    const given = answer.landmark ?? (answer.decision === "uncertain" ? answer.guess : null);
    const fact = { request_id: entry.request, photo: answer.photo, answer: given, right, correct };
    const reply = await sendFeedback({ ...fact, note }, keep.checked ? entry.photo : null);
    const words = thanks(keep.checked, reply.photo_kept);
    put(box, el("p", { class: "thanks", tabindex: -1 }, words));
    box.firstChild.focus();
    announce(words);
  };
  question(asked);
  return box;
}

/** Send the reply; the photo goes with it only where the person allowed it to be kept. */
function sendFeedback(entry, photo) {
  if (!photo) return fetchJson("v1/feedback", { method: "POST", body: entry });
  const body = new FormData();
  body.append("entry", JSON.stringify(entry));
  body.append("photo", photo, photo.name);
  return fetchJson("v1/feedback", { method: "POST", body });
}

function thanks(wanted, kept) {
  if (!wanted) return t("next.thanks");
  return t(kept === false ? "next.thanks_no_room" : "next.thanks_photo");
}

function question(asked) {
  const { answer, box, keep, send } = asked;
  const sender = (right, correct) => () =>
    send(right, correct).catch((error) => feedbackFailed(box, error));
  const buttons = [];
  if (answer.decision === "uncertain") {
    for (const c of answer.candidates.slice(0, answer.second ? 2 : 1))
      buttons.push(button(titled(c), sender(c.landmark === answer.guess, c.landmark)));
    buttons.push(button(t("next.something_else"), () => correction(asked)));
  } else {
    const yes = sender(true, answer.landmark);
    buttons.push(button(t("next.yes"), yes, { "aria-label": t("next.yes_right") }));
    const no = () => correction(asked);
    buttons.push(button(t("next.no"), no, { "aria-label": t("next.no_wrong") }));
  }
  const words = t(answer.decision === "uncertain" ? "next.which" : "next.right");
  put(
    box,
    el("p", {}, words),
    el("div", { class: "buttons" }, buttons),
    el("label", { class: "check", for: keep.id }, keep, t("next.keep_photo")),
  );
}

function correction(asked) {
  const { answer, box, keep, send } = asked;
  const field = landmarkField(t("next.correct"));
  const none = el("input", { id: `none-${(fields += 1)}`, type: "checkbox" });
  none.addEventListener("change", () => (field.input.disabled = none.checked));
  const submit = (event) => {
    event.preventDefault();
    const correct = none.checked ? null : field.value() || null;
    const note = none.checked ? "it shows no landmark" : "";
    send(false, correct, note).catch((error) => feedbackFailed(box, error));
  };
  const noLandmark =
    answer.decision === "no_landmark"
      ? null
      : el("label", { class: "check", for: none.id }, none, t("next.shows_none"));
  put(
    box,
    el(
      "form",
      { on: { submit } },
      field.nodes,
      noLandmark,
      el("label", { class: "check", for: keep.id }, keep, t("next.keep_photo")),
      el("p", { class: "small" }, t("next.what_happens")),
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "submit", class: "main" }, t("next.send")),
        button(t("common.cancel"), () => question(asked), { class: "quiet" }),
      ),
    ),
  );
  field.input.focus();
}

/** A field for a landmark with suggestions: {nodes, input, value()}. value: label, or as typed. */
export function landmarkField(words, item = null) {
  const id = `landmark-${(fields += 1)}`;
  const known = el("datalist", { id: `${id}-known` });
  const input = el("input", {
    id,
    list: known.id,
    autocomplete: "off",
    maxlength: 200,
    spellcheck: "false",
    value: item ? titled(item) : null,
  });
  const labels = new Map(item ? [[titled(item), item.landmark]] : []);
  input.addEventListener("input", () => suggest(input.value, known, labels));
  input.addEventListener("focus", () => suggest(item ? "" : input.value, known, labels));
  const value = () => labels.get(input.value.trim()) ?? input.value.trim();
  return { nodes: [el("label", { for: id }, words), input, known], input, value };
}

async function suggest(query, list, labels) {
  list.dataset.query = query;
  const path = `v1/landmarks?limit=20&query=${encodeURIComponent(query)}`;
  const found = await fetchJson(path).catch(() => ({ landmarks: [] }));
  if (list.dataset.query !== query) return; // a later request is in progress
  for (const item of found.landmarks) labels.set(titled(item), item.landmark);
  put(list, ...found.landmarks.map((item) => el("option", { value: titled(item) })));
}

function feedbackFailed(box, error) {
  box.querySelector(".problem")?.remove();
  box.append(el("p", { class: "problem", role: "alert" }, sentence(error.message)));
}
