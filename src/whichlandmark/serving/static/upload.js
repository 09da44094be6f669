// Take photos by drop, paste, file picker or camera; what is no photo is left out and named.

import { address } from "./api.js";
import { byId } from "./dom.js";
import { bytes } from "./format.js";
import { t } from "./text.js";

const MAX_FILES = 1000; // of one drop, so that a whole disk that is dropped does not fill the page
const PHOTO_NAME = /\.(jpe?g|jfif|png|webp|gif|avif|hei[cf]|tiff?|bmp)$/i;
const VIDEO_NAME = /\.(mp4|mov|m4v|avi|mkv|webm|3gp)$/i;
const PICTURE_ADDRESS = /^(?:https?|data|blob|file):/i;

/** Set up drop, paste, picker and camera: take(files) gets photos, tell(text) what went wrong. */
export function wireUpload(take, tell) {
  const given = (files) => {
    const { photos, others } = sortedOut(files);
    tell(leftOut(others, files.length === MAX_FILES));
    if (photos.length) take(photos);
  };
  picker(byId("choose"), byId("files"), given);
  picker(byId("camera"), byId("shot"), given);
  byId("camera").hidden = !matchMedia("(pointer: coarse)").matches; // a desktop camera faces the user
  if (/Mac|iP/.test(navigator.platform)) byId("modifier").textContent = "⌘";
  document.addEventListener("paste", (event) => pasted(event, given, tell));
  droppable(document.documentElement, byId("drop"), given);
  document.addEventListener("drop", (event) => draggedPicture(event, given, tell));
  document.addEventListener("dragover", (event) => {
    if (carriesPicture(event.dataTransfer)) event.preventDefault(); // so that it may be dropped
  });
}

const typing = (node) => Boolean(node?.closest?.("input, textarea, select, [contenteditable]"));

async function pasted(event, given, tell) {
  if (document.querySelector("dialog[open]")) return;
  const data = event.clipboardData;
  const files = [...(data?.files ?? [])];
  if (!files.length && (typing(event.target) || !data)) return;
  event.preventDefault();
  if (files.length) return given(files);
  await takeAddress(
    pictureAddress(data) || data.getData("text/plain").trim(),
    given,
    tell,
    "paste",
  );
}

async function draggedPicture(event, given, tell) {
  const data = event.dataTransfer;
  if (!carriesPicture(data) || typing(event.target) || document.querySelector("dialog[open]"))
    return;
  event.preventDefault();
  await takeAddress(pictureAddress(data), given, tell, "drop");
}

const carriesPicture = (data) =>
  Boolean(data) &&
  !data.types.includes("Files") &&
  ["text/uri-list", "text/html"].some((type) => data.types.includes(type));

/** The address of the picture in dragged or pasted HTML, or of a list of addresses; "" = none. */
function pictureAddress(data) {
  const html = data.getData("text/html");
  const page = html ? new DOMParser().parseFromString(html, "text/html") : null;
  const image = page?.querySelector("img");
  const listed = data.getData("text/uri-list").split(/\r?\n/);
  return image?.getAttribute("src") || listed.find((line) => line && !line.startsWith("#")) || "";
}

/** Take the photo of an address where this page may read it; else say how to give the photo. */
async function takeAddress(text, given, tell, way) {
  const file = await pictureAt(text).catch(() => null);
  if (file) return given([file]);
  const picture = PICTURE_ADDRESS.test(text) || way === "drop";
  const path = /^(?:[a-z]:\\|\/|~\/|\\\\)/i.test(text) || /^file:/i.test(text);
  if (path) tell(t("recognize.path_given"));
  else if (picture) tell(t("recognize.address_given"));
  else tell(t(text ? "recognize.text_given" : "recognize.nothing_given"));
}

async function pictureAt(text) {
  if (/^data:image./i.test(text)) return fileOfData(text);
  const url = new URL(text, document.baseURI);
  if (!/^https?:/i.test(text) || url.origin !== new URL(address("")).origin) return null;
  const blob = await (await fetch(url)).blob();
  const name = decodeURIComponent(url.pathname.split("/").pop()) || "photo";
  return blob.type.startsWith("image/") ? new File([blob], name, { type: blob.type }) : null;
}

function fileOfData(text) {
  const [, type, encoded, data] = /^data:([^;,]+)[^,]*?(;base64)?,([^]*)$/i.exec(text);
  const plain = encoded ? atob(data.replaceAll(/\s/g, "")) : decodeURIComponent(data);
  const content = encoded ? Uint8Array.from(plain, (c) => c.charCodeAt(0)) : plain;
  return new File([content], `${t("recognize.pasted_name")}.${type.split("/")[1]}`, { type });
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

/** Files and folders may be dropped on `area`; `shown` is highlighted meanwhile. */
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
  area.addEventListener("drop", async (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    highlight(0);
    if (document.querySelector("dialog[open]")) return;
    const files = await droppedFiles(event.dataTransfer);
    if (files.length) take(files);
  });
}

/** The dropped files, and those in dropped folders. */
async function droppedFiles(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...data.files];
  if (!entries.some((entry) => entry.isDirectory)) return plain;
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (found.length >= MAX_FILES || entry.name.startsWith(".")) return;
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) found.push(file);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return; // a reader gives a folder's content in parts
    for (const child of some) await walk(child, found);
  }
}

/** What a file is, by its type and name: photo, empty, video, pdf or other. */
function kindOfFile(file) {
  if (file.type.startsWith("video/") || VIDEO_NAME.test(file.name)) return "video";
  if (file.type === "application/pdf" || /\.pdf$/i.test(file.name)) return "pdf";
  const photo = file.type ? file.type.startsWith("image/") : PHOTO_NAME.test(file.name);
  if (!photo && (file.type || /\.\w{1,5}$/.test(file.name))) return "other";
  return file.size ? "photo" : "empty"; // a file without type and ending may be a photo
}

function sortedOut(files) {
  const kinds = files.map(kindOfFile);
  return {
    photos: files.filter((_, i) => kinds[i] === "photo"),
    others: files.map((file, i) => ({ file, kind: kinds[i] })).filter((o) => o.kind !== "photo"),
  };
}

const NAMED = 5; // files that are left out and named

function leftOut(others, cut) {
  const parts = others
    .slice(0, NAMED)
    .map(({ file, kind }) => t(`recognize.is_${kind}`, { name: file.name }));
  if (others.length > NAMED)
    parts.push(t("recognize.others_left_out", { n: others.length - NAMED }));
  if (!parts.length) return cut ? t("recognize.too_many", { n: MAX_FILES }) : "";
  const kinds = new Set(others.map((other) => other.kind));
  const advice = ["video", "pdf"].filter((kind) => kinds.has(kind));
  return [
    `${t("recognize.left_out", { n: others.length })} ${parts.join(", ")}.`,
    ...advice.map((kind) => t(`recognize.advice_${kind}`)),
    cut ? t("recognize.too_many", { n: MAX_FILES }) : "",
  ]
    .filter(Boolean)
    .join(" ");
}

/** Why a file cannot be sent: {message, hint}; null = it can, and the server checks it. */
export async function fileProblem(file, config) {
  const kind = kindOfFile(file);
  if (kind !== "photo") {
    const advice = ["video", "pdf"].includes(kind) ? kind : "other";
    return { message: t(`recognize.no_${kind}`), hint: t(`recognize.advice_${advice}`) };
  }
  if (config.max_bytes && file.size > config.max_bytes)
    return {
      message: t("recognize.too_large", { size: bytes(file.size) }),
      hint: t("recognize.too_large_hint", { size: bytes(config.max_bytes) }),
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
    : { message: t("recognize.unreadable"), hint: t("recognize.unreadable_hint") };
}
