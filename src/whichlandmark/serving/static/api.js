// HTTP requests to the server of this page; no other server is contacted.

import { replaceImage } from "./dom.js";

const KEY = "whichlandmark.key";
const NO_IMAGE = "no image";
const TIMEOUT = 90000; // ms

/** An error that the page shows. kind: busy, key, offline, unreachable, refused or unfit. */
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

/** The URL of a path of this server, also behind a proxy that adds a prefix. */
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
  const timeout = AbortSignal.timeout(TIMEOUT);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
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
    throw connectionProblem(error);
  }
  if (!response.ok) throw await responseProblem(response);
  return response;
}

export function connectionProblem(error) {
  if (!navigator.onLine)
    return new Problem("offline", "The request could not be sent.", {
      hint: "It is sent again when the connection is back.",
    });
  if (error.name === "TimeoutError")
    return new Problem("unreachable", "The server did not answer in time.", {
      hint: "Try again in a moment.",
    });
  return new Problem("unreachable", "The server cannot be reached.", {
    hint: "Is it running? Try again in a moment.",
  });
}

export async function responseProblem(response) {
  const { error = {} } = await response.json().catch(() => ({}));
  const { code = "", hint = "" } = error;
  const { status } = response;
  const message = error.message || `The server answered with status ${status}.`;
  const wait = retryAfter(response.headers.get("Retry-After"));
  if (status === 503 || status === 429)
    return new Problem("busy", message, { hint, code, status, wait: wait ?? 5 });
  if (status === 401 || status === 403) return new Problem("key", message, { hint, code, status });
  return new Problem("refused", message, { hint, code, status });
}

/** Send FormData, or an object as JSON, and parse the JSON response. Throws Problem. */
export async function fetchJson(path, { method = "GET", body, signal } = {}) {
  const plain = body && !(body instanceof FormData);
  const headers = plain ? { "Content-Type": "application/json" } : {};
  const response = await send(path, {
    method,
    headers,
    body: plain ? JSON.stringify(body) : body,
    signal,
  });
  return response.json().catch(() => {
    throw new Problem("unreachable", "The response was incomplete.", {
      hint: "Try again in a moment.",
    });
  });
}

export function form(field, files) {
  const data = new FormData();
  for (const file of files) data.append(field, file, file.name || "photo.jpg");
  return data;
}

/** Show an image of the server; with a key it is fetched, because <img> sends no headers. */
export async function showImage(image, path) {
  if (!path) return replaceImage(image, NO_IMAGE);
  image.addEventListener("error", () => replaceImage(image, NO_IMAGE), { once: true });
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
    replaceImage(image, NO_IMAGE);
  }
}
