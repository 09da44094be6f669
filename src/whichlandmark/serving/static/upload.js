// Choose photos by drop, paste, file picker or camera, and check files before they are sent.

import { byId } from "./dom.js";
import { bytes } from "./format.js";

/** Set up drop, paste, picker and camera; take(files) is called with the files. */
export function wireUpload(take) {
  picker(byId("choose"), byId("files"), take);
  picker(byId("camera"), byId("shot"), take);
  byId("camera").hidden = !matchMedia("(pointer: coarse)").matches; // a desktop camera faces the user
  if (/Mac|iP/.test(navigator.platform)) byId("modifier").textContent = "⌘";
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    take(files);
  });
  droppable(document.documentElement, byId("drop"), take);
}

/** Let a button open a file input; take(files) is called with the chosen files. */
export function picker(button, input, take) {
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the same file can be chosen again
    if (files.length) take(files);
  });
}

/** Files may be dropped on `area`; `shown` is highlighted meanwhile. */
export function droppable(area, shown, take) {
  let depth = 0;
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  const highlight = (change) => {
    depth = change ? Math.max(0, depth + change) : 0;
    shown.classList.toggle("over", depth > 0 && !document.querySelector("dialog[open]"));
  };
  area.addEventListener("dragenter", (event) => carries(event) && highlight(1));
  area.addEventListener("dragleave", (event) => carries(event) && highlight(-1));
  area.addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  area.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    highlight(0);
    const files = [...event.dataTransfer.files];
    if (files.length && !document.querySelector("dialog[open]")) take(files);
  });
}

/** Why a file cannot be sent: {message, hint}; null = it can, and the server checks it. */
export async function fileProblem(file, config) {
  if (file.type && !file.type.startsWith("image/"))
    return {
      message: "This is not a photo.",
      hint: `Its type is ${file.type}; choose an image file.`,
    };
  if (file.size === 0) return { message: "This file is empty.", hint: "Choose another photo." };
  if (config.max_bytes && file.size > config.max_bytes)
    return {
      message: `This photo is too large: ${bytes(file.size)}.`,
      hint: `This server accepts up to ${bytes(config.max_bytes)}; save it smaller and try again.`,
    };
  const readable = await file
    .slice(0, 1)
    .arrayBuffer()
    .then(
      () => true,
      () => false,
    );
  return readable
    ? null
    : {
        message: "This file cannot be read from your disk.",
        hint: "It may be a folder, or it was moved.",
      };
}
