// Ask whether the answer is right, and send the reply to the server's review queue.

import { ask } from "./api.js";
import { announce, button, el, put } from "./dom.js";
import { sentence, titled } from "./format.js";

let forms = 0;

/** The question under an answer. */
export function feedback(answer, request) {
  const box = el("div", { class: "feedback", role: "group", "aria-label": "Is this right?" });
  const send = async (right, correct, note = "") => {
    const said = answer.landmark ?? (answer.decision === "uncertain" ? answer.guess : null);
    const body = { request_id: request, photo: answer.photo, answer: said, right, correct, note };
    await ask("v1/feedback", { method: "POST", body });
    put(box, el("p", { class: "thanks", tabindex: -1 }, "Thank you. A person will look at it."));
    box.firstChild.focus();
    announce("Thank you. A person will look at it.");
  };
  question(box, answer, send);
  return box;
}

function question(box, answer, send) {
  const told = (right, correct) => () => send(right, correct).catch((error) => failed(box, error));
  const wrong = button("No", () => correction(box, answer, send), {
    "aria-label": "No, it is wrong",
  });
  if (answer.decision === "uncertain") {
    const both = answer.candidates.slice(0, answer.second ? 2 : 1);
    const choices = both.map((c) =>
      button(titled(c), told(c.landmark === answer.guess, c.landmark)),
    );
    wrong.textContent = "Something else";
    wrong.removeAttribute("aria-label");
    put(box, el("p", {}, "Which is it?"), el("div", { class: "buttons" }, choices, wrong));
    return;
  }
  const yes = button("Yes", told(true, answer.landmark), { "aria-label": "Yes, it is right" });
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
    send(false, correct || null, note).catch((error) => failed(box, error));
  };
  const nothing =
    answer.decision === "no_landmark"
      ? null
      : el("label", { class: "check", for: none.id }, none, "It shows no landmark");
  put(
    box,
    el(
      "form",
      { on: { submit } },
      el("label", { for: id }, "It is really…"),
      name,
      known,
      nothing,
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
  const found = await ask(`v1/landmarks?limit=20&query=${encodeURIComponent(query)}`).catch(() => ({
    landmarks: [],
  }));
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

function failed(box, error) {
  box.querySelector(".problem")?.remove();
  box.append(el("p", { class: "problem", role: "alert" }, sentence(error.message)));
}
