// The question whether an answer is right; the reply goes to the server's review file.

import { fetchJson } from "./api.js";
import { announce, button, el, put } from "./dom.js";
import { sentence, titled } from "./format.js";

let forms = 0; // for unique ids

/** The feedback form of an answer. request: id of the request that was answered. */
export function feedback(answer, request) {
  const box = el("div", { class: "feedback", role: "group", "aria-label": "Is this right?" });
  const send = async (right, correct, note = "") => {
    const given = answer.landmark ?? (answer.decision === "uncertain" ? answer.guess : null);
    const body = { request_id: request, photo: answer.photo, answer: given, right, correct, note };
    await fetchJson("v1/feedback", { method: "POST", body });
    put(
      box,
      el("p", { class: "thanks", tabindex: -1 }, "Thank you. Your feedback was saved for review."),
    );
    box.firstChild.focus();
    announce("Thank you. Your feedback was saved for review.");
  };
  question(box, answer, send);
  return box;
}

function question(box, answer, send) {
  const sender = (right, correct) => () =>
    send(right, correct).catch((error) => feedbackFailed(box, error));
  const wrong = button("No", () => correction(box, answer, send), {
    "aria-label": "No, it is wrong",
  });
  if (answer.decision === "uncertain") {
    const both = answer.candidates.slice(0, answer.second ? 2 : 1);
    const choices = both.map((c) =>
      button(titled(c), sender(c.landmark === answer.guess, c.landmark)),
    );
    wrong.textContent = "Something else";
    wrong.removeAttribute("aria-label");
    put(box, el("p", {}, "Which is it?"), el("div", { class: "buttons" }, choices, wrong));
    return;
  }
  const yes = button("Yes", sender(true, answer.landmark), { "aria-label": "Yes, it is right" });
  put(box, el("p", {}, "Is this right?"), el("div", { class: "buttons" }, yes, wrong));
}

function correction(box, answer, send) {
  const id = `correct-${(forms += 1)}`;
  const name = el("input", {
    id,
    list: `${id}-known`,
    autocomplete: "off",
    maxlength: 200,
    spellcheck: "false",
  });
  const none = el("input", { id: `${id}-none`, type: "checkbox" });
  const known = el("datalist", { id: `${id}-known` });
  none.addEventListener("change", () => (name.disabled = none.checked));
  name.addEventListener("input", () => suggest(name.value, known));
  const submit = (event) => {
    event.preventDefault();
    const correct = none.checked ? null : landmarkOf(name.value.trim(), known);
    const note = none.checked ? "it shows no landmark" : "";
    send(false, correct || null, note).catch((error) => feedbackFailed(box, error));
  };
  const noLandmark =
    answer.decision === "no_landmark"
      ? null
      : el("label", { class: "check", for: none.id }, none, "It shows no landmark");
  put(
    box,
    el(
      "form",
      { on: { submit } },
      el("label", { for: id }, "Correct landmark"),
      name,
      known,
      noLandmark,
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "submit" }, "Send"),
        button("Cancel", () => question(box, answer, send), { class: "quiet" }),
      ),
    ),
  );
  name.focus();
  suggest("", known);
}

async function suggest(query, list) {
  list.dataset.query = query;
  const found = await fetchJson(`v1/landmarks?limit=20&query=${encodeURIComponent(query)}`).catch(
    () => ({
      landmarks: [],
    }),
  );
  if (list.dataset.query !== query) return; // a later request is in progress
  put(
    list,
    ...found.landmarks.map((item) =>
      el("option", { value: titled(item), "data-landmark": item.landmark }),
    ),
  );
}

function landmarkOf(title, list) {
  const known = [...list.options].find((option) => option.value === title);
  return known?.dataset.landmark ?? title;
}

function feedbackFailed(box, error) {
  box.querySelector(".problem")?.remove();
  box.append(el("p", { class: "problem", role: "alert" }, sentence(error.message)));
}
