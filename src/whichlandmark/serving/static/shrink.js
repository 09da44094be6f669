// Make photos smaller before they travel, and their thumbnails; the browser's own decoder does it.

import { address } from "./api.js";

const SHRINK_SIDE = 1600; // of the long side, where the configuration says none
const SMALL_BYTES = 2_000_000; // a photo up to this size and side travels as it is
const TOLERANCE = 1.25; // sides up to this many times the limit are not worth another encoding
const THUMBNAIL = 144; // long side in pixels, twice what the list shows
const QUALITY = 0.9;

let last = Promise.resolve(); // photos are decoded one at a time, because each takes memory

/**
 * The photo as it travels and its thumbnail: {photo, thumbnail, decoded}. decoded: whether this
 * browser can show it; a photo that it cannot decode travels as it is.
 */
export function smallPhoto(file, config) {
  const made = last.then(() => shrunk(file, config));
  last = made.catch(() => {});
  return made;
}

async function shrunk(file, config) {
  const size = await sizeOf(file).catch(() => null);
  if (!size) return { photo: file, thumbnail: null, decoded: false };
  const target = travelSize(file, size, config);
  const wanted = { file, target, small: fitted(size, THUMBNAIL), quality: QUALITY };
  const made = await inWorker(wanted).catch(() => inPage(wanted).catch(() => null));
  if (!made) return { photo: file, thumbnail: null, decoded: true };
  const { photo: small, thumbnail } = made;
  const smaller = small && (small.size < file.size || !readable(file, config));
  return { photo: smaller ? renamed(small, file) : file, thumbnail, decoded: true };
}

let worker = null; // false = it cannot be started
let tasks = 0;

/** {photo, thumbnail} as made by the worker; it fails in browsers that cannot draw in one. */
function inWorker(wanted) {
  if (!window.OffscreenCanvas || worker === false)
    return Promise.reject(new Error("no drawing in a worker"));
  worker ??= new Worker(address("static/shrink_worker.js"));
  const id = (tasks += 1);
  return new Promise((resolve, reject) => {
    const ended = new AbortController();
    const { signal } = ended;
    const reply = ({ data }) => {
      if (data.id !== id) return;
      ended.abort();
      if (data.fault) reject(new Error(data.fault));
      else resolve(data);
    };
    const failed = () => {
      ended.abort();
      worker = false;
      reject(new Error("the worker could not be started"));
    };
    worker.addEventListener("message", reply, { signal });
    worker.addEventListener("error", failed, { signal });
    worker.postMessage({ id, ...wanted });
  });
}

async function inPage({ file, target, small, quality }) {
  const picture = await bitmap(file, target ?? small);
  const photo = target && (await jpeg(picture, target, quality));
  const thumbnail = await jpeg(picture, small, 0.75);
  picture.close();
  return { photo, thumbnail };
}

/** The size at which a photo travels; null = the file as it is. */
function travelSize(file, { width, height }, config) {
  const side = config.shrink_side ?? SHRINK_SIDE;
  const long = Math.max(width, height);
  const above = config.max_bytes && file.size > config.max_bytes;
  if (!readable(file, config)) return fitted({ width, height }, side);
  if (config.uses_location && !above) return null; // its place is in the file's metadata
  if (!above && long <= TOLERANCE * side && file.size <= SMALL_BYTES) return null;
  return fitted({ width, height }, side);
}

/** Whether the server reads a file of this type; unknown types are left to it. */
function readable(file, { formats = [] }) {
  const type = file.type.split("/")[1]?.replace("heif", "heic");
  if (!type || type.startsWith("svg") || !formats.length) return true;
  const known = formats.map((name) => name.toLowerCase().replace("heif", "heic"));
  return known.includes(type) || (type === "jpg" && known.includes("jpeg"));
}

const fitted = ({ width, height }, side) => {
  const scale = Math.min(1, side / Math.max(width, height));
  return {
    width: Math.max(1, Math.round(scale * width)),
    height: Math.max(1, Math.round(scale * height)),
  };
};

const renamed = (blob, { name }) =>
  new File([blob], `${name.replace(/\.\w{2,5}$/, "")}.jpg`, { type: "image/jpeg" });

/** Width and height as shown, which the browser reads without decoding the pixels. */
export async function sizeOf(file) {
  const image = await loadedImage(file);
  URL.revokeObjectURL(image.src);
  return { width: image.naturalWidth, height: image.naturalHeight };
}

/** An image element of a file; its `src` is an object URL that the caller revokes. */
export function loadedImage(file) {
  const image = new Image();
  const url = URL.createObjectURL(file);
  return new Promise((resolve, reject) => {
    image.addEventListener("load", () => resolve(image));
    image.addEventListener("error", () => {
      URL.revokeObjectURL(url);
      reject(new Error("this browser cannot show the photo"));
    });
    image.src = url;
  });
}

const bitmap = (file, { width, height }) =>
  createImageBitmap(file, {
    resizeWidth: width,
    resizeHeight: height,
    resizeQuality: "high",
    imageOrientation: "from-image",
  });

/** A drawable at a size as JPEG, on white where it is transparent. */
export function jpeg(drawable, { width, height }, quality, part = null) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  if (part)
    pen.drawImage(drawable, part.left, part.top, part.width, part.height, 0, 0, width, height);
  else pen.drawImage(drawable, 0, 0, width, height);
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => {
        canvas.width = 0; // frees its memory at once
        if (blob) resolve(blob);
        else reject(new Error("this browser cannot encode the photo"));
      },
      "image/jpeg",
      quality,
    );
  });
}
