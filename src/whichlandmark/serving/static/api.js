// HTTP requests to the server of this page, and its errors in the page's own words.

import { replaceImage } from "./dom.js";
import { bytes } from "./format.js";
import { hasText, t } from "./text.js";

const KEY = "whichlandmark.key";
const TIMEOUT = 90000; // ms
const MAX_BUSY_TRIES = 8;

/**
 * An error that the page shows. kind: busy, key, forbidden, offline, unreachable, refused, unfit or
 * page. code: the server's; wait: seconds after which to try again.
 */
export class Problem extends Error {
  constructor(kind, message, { hint = "", code = "", status = 0, wait = null, detail = "" } = {}) {
    super(message);
    Object.assign(this, { kind, hint, code, status, wait, detail });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** The URL of a path of this server, also behind a proxy that adds a prefix. */
export const address = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;

/** A path with a query string; values that are null or "" are left out. */
export function withQuery(path, values) {
  const given = Object.entries(values).filter(([, value]) => value != null && value !== "");
  const query = new URLSearchParams(given).toString();
  return query ? `${path}?${query}` : path;
}

export const landmarkPath = (landmark) => `v1/landmarks/${encodeURIComponent(landmark)}`;
export const photoPath = (id) => `v1/photos/${encodeURIComponent(id)}`;

/** Seconds of a Retry-After header: a number, or a date. */
export function retryAfter(header, now = Date.now()) {
  if (!header) return null;
  const wait = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - now) / 1000;
  return Number.isFinite(wait) ? Math.min(3600, Math.max(1, Math.ceil(wait))) : null;
}

async function send(path, { keyValue = key.get(), timeout: most = TIMEOUT, ...options } = {}) {
  const headers = new Headers(options.headers);
  if (keyValue) headers.set("Authorization", `Bearer ${keyValue}`);
  const timeout = AbortSignal.timeout(most);
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
  if (!response.ok) throw await responseProblem(response, Boolean(keyValue));
  return response;
}

/** The Problem of a request that got no answer. */
export function connectionProblem(error) {
  if (!navigator.onLine) return inWords("offline", "offline");
  return inWords("unreachable", error.name === "TimeoutError" ? "no_answer" : "unreachable");
}

/** A Problem with the page's texts error.CODE and error.CODE_hint. */
function inWords(kind, code, values = {}, more = {}) {
  const hint = hasText(`error.${code}_hint`) ? t(`error.${code}_hint`, values) : "";
  return new Problem(kind, t(`error.${code}`, values), { hint, code, ...more });
}

/** An error as a Problem; one of the page itself is told without the browser's words. */
export function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return inWords("page", "page");
}

/** What an error says: what is wrong, and what to do. */
export function problemText(error) {
  const { message, hint } = asProblem(error);
  return `${message} ${hint}`.trim();
}

// Status → code, where the reply has none: it may come from a proxy.
const CODES = {
  401: "unauthorized",
  403: "refused",
  404: "not_found",
  408: "too_slow",
  413: "body_too_large",
  429: "rate_limited",
  500: "internal",
  502: "gateway",
  503: "gateway",
  504: "gateway",
};

const KINDS = {
  busy: "busy",
  rate_limited: "busy",
  unauthorized: "key",
  wrong_key: "key",
  too_many_wrong_keys: "key",
  forbidden: "forbidden",
  gateway: "unreachable",
};

/** The Problem that a refusal tells of. keyed: whether a key was sent. */
export async function responseProblem(response, keyed = Boolean(key.get())) {
  const { error = {}, request_id: id = "" } = await response.json().catch(() => ({}));
  const { status } = response;
  let code = error.code || CODES[status] || "refused";
  if (code === "unauthorized" && keyed) code = "wrong_key";
  const kind = KINDS[code] ?? "refused";
  const header = retryAfter(response.headers.get("Retry-After"));
  const wait = kind === "busy" ? (header ?? 5) : header;
  const more = { status, wait, detail: error.message ?? "" };
  if (error.code && !hasText(`error.${code}`))
    return new Problem(kind, error.message, { hint: error.hint ?? "", code, ...more });
  return inWords(kind, code, { status, wait: wait ?? 5, id: id || "–" }, more);
}

/** The Problem of one photo: {code, message, hint} of the server, and the file that was sent. */
export function photoProblem({ code, message, hint = "" }, file, config = {}) {
  const values = { format: formatOf(file), size: bytes(config.max_bytes || 20e6) };
  const known = code === "unsupported_format" && !values.format ? "unsupported_unnamed" : code;
  if (!hasText(`error.photo_${known}`)) return new Problem("unfit", message, { hint, code });
  return inWords("unfit", `photo_${known}`, values, { code, detail: message });
}

const FORMATS = {
  heic: "HEIC",
  heif: "HEIC",
  tif: "TIFF",
  tiff: "TIFF",
  svg: "SVG",
  bmp: "BMP",
  jxl: "JPEG XL",
  jp2: "JPEG 2000",
  pdf: "PDF",
  mp4: "MP4",
  mov: "MOV",
  dng: "DNG",
  cr2: "CR2",
  nef: "NEF",
  arw: "ARW",
  psd: "PSD",
  avif: "AVIF",
};

/** The format of a file for people, after its type and its ending; "" where neither tells. */
function formatOf(file) {
  const ending = file?.name?.match(/\.(\w{2,5})$/)?.[1].toLowerCase() ?? "";
  const type = file?.type?.split("/")[1]?.split("+")[0] ?? "";
  return FORMATS[type] ?? FORMATS[ending] ?? "";
}

/** Send FormData, or an object as JSON, and parse the JSON response. Throws Problem. */
export async function fetchJson(path, { method = "GET", body, signal, keyValue, timeout } = {}) {
  const plain = body && !(body instanceof FormData);
  const headers = plain ? { "Content-Type": "application/json" } : {};
  const response = await send(path, {
    method,
    headers,
    body: plain ? JSON.stringify(body) : body,
    signal,
    timeout,
    ...(keyValue ? { keyValue } : {}),
  });
  return response.json().catch(() => {
    throw inWords("unreachable", "incomplete");
  });
}

/** Run an action again while the server is busy; onWait(seconds) is called before each wait. */
export async function retryBusy(action, onWait) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await action();
    } catch (error) {
      if (error.kind !== "busy" || tries === MAX_BUSY_TRIES) throw error;
      onWait(error.wait);
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.wait));
    }
  }
}

export function form(field, files) {
  const data = new FormData();
  for (const file of files) data.append(field, file, file.name || "photo.jpg");
  return data;
}

/**
 * Show an image of the server; with a key it is fetched, because <img> sends no headers. instead:
 * the path of one to show where the first is not there.
 */
export async function showImage(image, path, instead = null) {
  const without = () =>
    instead ? showImage(image, instead) : replaceImage(image, t("common.no_image"));
  if (!path) return without();
  image.addEventListener("error", without, { once: true });
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
    image.removeEventListener("error", without);
    without();
  }
}
