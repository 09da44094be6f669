// Requests to the server that this page came from, and to no other.

import { pictureless } from "./dom.js";

const KEY = "whichlandmark.key";
const NO_PICTURE = "no picture";
const PATIENCE = 90000; // ms until an answer is given up

/** What went wrong, as the page shows it. kind: busy, key, offline, unreachable, refused. */
export class Problem extends Error {
  constructor(kind, message, { hint = "", code = "", status = 0, wait = null } = {}) {
    super(message);
    Object.assign(this, { kind, hint, code, status, wait });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** The address of a path of this server, wherever a proxy has put it. */
export const address = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;

/** Seconds of a Retry-After header: a number, or a date. */
export function retryAfter(header, now = Date.now()) {
  if (!header) return null;
  const wait = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - now) / 1000;
  return Number.isFinite(wait) ? Math.min(3600, Math.max(1, Math.ceil(wait))) : null;
}

async function send(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key.get()) headers.set("Authorization", `Bearer ${key.get()}`);
  const giveUp = AbortSignal.timeout(PATIENCE);
  const signal = options.signal ? AbortSignal.any([options.signal, giveUp]) : giveUp;
  let response;
  try {
    response = await fetch(address(path), {
      ...options,
      headers,
      signal,
      credentials: "same-origin",
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw unanswered(error);
  }
  if (!response.ok) throw await refused(response);
  return response;
}

function unanswered(error) {
  if (!navigator.onLine)
    return new Problem("offline", "It could not be sent.", {
      hint: "It is asked again when the connection is back.",
    });
  if (error.name === "TimeoutError")
    return new Problem("unreachable", "The server did not answer in time.", {
      hint: "Try again in a moment.",
    });
  return new Problem("unreachable", "The server cannot be reached.", {
    hint: "Is it running? Try again in a moment.",
  });
}

async function refused(response) {
  const { error = {} } = await response.json().catch(() => ({}));
  const { code = "", hint = "" } = error;
  const { status } = response;
  const message = error.message || `The server answered ${status}.`;
  const wait = retryAfter(response.headers.get("Retry-After"));
  if (status === 503 || status === 429)
    return new Problem("busy", message, { hint, code, status, wait: wait ?? 5 });
  if (status === 401 || status === 403) return new Problem("key", message, { hint, code, status });
  return new Problem("refused", message, { hint, code, status });
}

/** The JSON that a path answers with. body: a plain object is sent as JSON. Throws Problem. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const plain = body && !(body instanceof FormData);
  const headers = plain ? { "Content-Type": "application/json" } : {};
  const response = await send(path, {
    method,
    headers,
    body: plain ? JSON.stringify(body) : body,
    signal,
  });
  return response.json().catch(() => {
    throw new Problem("unreachable", "The answer was cut off.", { hint: "Try again in a moment." });
  });
}

export function form(field, files) {
  const data = new FormData();
  for (const file of files) data.append(field, file, file.name || "photo.jpg");
  return data;
}

/** Put a picture of the server into an <img>; with a key it is fetched, as <img> sends no header. */
export async function picture(image, path) {
  if (!path) return pictureless(image, NO_PICTURE);
  image.addEventListener("error", () => pictureless(image, NO_PICTURE), { once: true });
  if (!key.get()) {
    image.src = address(path);
    return;
  }
  try {
    const blob = await (await send(path)).blob();
    const url = URL.createObjectURL(blob);
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    image.src = url;
  } catch {
    pictureless(image, NO_PICTURE);
  }
}
