// What is wrong with a field of a form, said below the field.

import { el } from "./dom.js";

/** Show a text below a field, and put the focus on the field. */
export function faultAt(field, words) {
  const id = `${field.id}-fault`;
  const old = document.getElementById(id);
  const line = old ?? el("p", { id, class: "problem fault", role: "alert" });
  line.textContent = words;
  if (!old) field.after(line);
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", id);
  field.focus();
}

/** Remove the texts below the fields of a form. */
export function clearFaults(form) {
  for (const line of form.querySelectorAll(".fault")) line.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
}

/** Whether a text is a web address, as the server takes it. */
export const isWebAddress = (text) => /^https?:\/\/\S+$/.test(text) && URL.canParse(text);
