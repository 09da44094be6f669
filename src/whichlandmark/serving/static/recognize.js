// Make photos small, send them a few at a time, and report each change of state.

import { Problem, address, connectionProblem, key, photoProblem, responseProblem } from "./api.js";
import { smallPhoto } from "./shrink.js";
import { t } from "./text.js";
import { fileProblem } from "./upload.js";

const MAX_ACTIVE = 3; // more are not answered faster, because the server embeds one batch at a time
const MAX_TRIES = 6; // automatic tries while the server is busy
const SEND_TIMEOUT = 90000; // ms without any progress

const queue = [];
const keyless = new Set(); // jobs that wait for the right key
let active = 0;
let paused = false;
let locked = false; // the server refused the key: nothing is sent until there is another

/**
 * Recognize the photo of an entry {file, photo, thumbnail, decoded}; the last three are filled in
 * when the photo was made small. show({state, …}) is called at every change: waiting |
 * recognizing {share: sent so far} | busy {problem, until} | failed {problem} | stopped |
 * answered {answer, request}. Returns {retry, cancel, stop}.
 */
export function recognizePhoto(entry, config, show) {
  const job = { entry, config, show, tries: 0, cancelled: new AbortController(), timer: 0 };
  enqueue(job);
  return {
    retry: () => {
      withdraw(job);
      Object.assign(job, { tries: 0, cancelled: new AbortController() });
      locked = false;
      enqueue(job);
    },
    cancel: () => withdraw(job),
    stop: () => {
      withdraw(job);
      show({ state: "stopped" });
    },
  };
}

function withdraw(job) {
  clearTimeout(job.timer);
  job.cancelled.abort();
  keyless.delete(job);
  const place = queue.indexOf(job);
  if (place >= 0) queue.splice(place, 1);
}

/** Start no more photos until this is called with false. */
export function pauseRecognition(wanted) {
  paused = wanted;
  next();
}

/** Send the photos that wait for the right key. */
export function retryKeyless() {
  locked = false;
  next();
  for (const job of [...keyless]) {
    keyless.delete(job);
    job.tries = 0;
    enqueue(job);
  }
}

function enqueue(job) {
  if (job.cancelled.signal.aborted || queue.includes(job)) return;
  job.offline = false;
  job.show({ state: "waiting" });
  queue.push(job);
  queueMicrotask(next); // so that a list of photos is complete before the first is sent
}

function next() {
  while (active < MAX_ACTIVE && queue.length && !paused && !locked) {
    active += 1;
    const job = queue.shift();
    const { signal } = job.cancelled;
    answerJob(job, signal)
      .catch((error) => handleError(job, signal, error))
      .finally(() => {
        active -= 1;
        next();
      });
  }
}

async function answerJob(job, signal) {
  const { entry, config, show } = job;
  show({ state: "recognizing", share: 0 });
  if (!entry.photo) {
    const made = await smallPhoto(entry.file, config);
    if (signal.aborted) return;
    Object.assign(entry, made);
    const fault = heicProblem(entry, config) ?? (await fileProblem(entry.photo, config));
    if (fault) {
      entry.photo = null;
      throw new Problem("unfit", fault.message, fault);
    }
  }
  const reply = await sendPhoto(entry.photo, signal, (share) => {
    if (!signal.aborted) show({ state: "recognizing", share });
  });
  const [result] = reply.results;
  if (signal.aborted) return;
  if (result.error) throw photoProblem(result.error, entry.photo, config);
  show({ state: "answered", answer: result, request: reply.request_id });
}

/** A photo of a phone that neither this browser nor the server can read. */
function heicProblem({ photo, decoded }, { formats = [] }) {
  const heic = /hei[cf]$/i.test(photo.type) || /\.hei[cf]$/i.test(photo.name);
  if (!heic || decoded || formats.some((name) => /^hei[cf]$/i.test(name))) return null;
  const { message } = photoProblem({ code: "unsupported_format", message: "" }, photo);
  return { message, hint: t("answer.heic_hint"), code: "unsupported_format" };
}

/** POST one photo. progress(share) is called while it is sent; fetch does not tell that. */
function sendPhoto(photo, signal, progress) {
  const request = new XMLHttpRequest();
  request.open("POST", address("v1/recognize"));
  if (key.get()) request.setRequestHeader("Authorization", `Bearer ${key.get()}`);
  const data = new FormData();
  data.append("photos", photo, photo.name || "photo.jpg");
  return new Promise((resolve, reject) => {
    let [timer, cause] = [0, "AbortError"];
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        cause = "TimeoutError";
        request.abort();
      }, SEND_TIMEOUT);
    };
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      alive();
      progress(loaded / total);
    });
    request.addEventListener("loadend", () => clearTimeout(timer));
    request.addEventListener("error", () => reject(connectionProblem({ name: "NetworkError" })));
    request.addEventListener("abort", () => reject(connectionProblem({ name: cause })));
    request.addEventListener("load", () => replyOf(request).then(resolve, reject));
    signal.addEventListener("abort", () => request.abort());
    alive();
    request.send(data);
  });
}

async function replyOf(request) {
  if (request.status === 200) {
    try {
      return JSON.parse(request.responseText);
    } catch {
      throw connectionProblem({ name: "IncompleteError" });
    }
  }
  const headers = {};
  const wait = request.getResponseHeader("Retry-After");
  if (wait) headers["Retry-After"] = wait;
  const { status, responseText } = request;
  throw await responseProblem(new Response(responseText, { status, headers }));
}

function handleError(job, signal, error) {
  if (signal.aborted) return;
  const problem =
    error instanceof Problem ? error : new Problem("unfit", t("answer.page_fault"), error);
  job.tries += 1;
  if (problem.kind === "busy" && job.tries < MAX_TRIES) {
    const until = Date.now() + 1000 * problem.wait;
    job.timer = setTimeout(() => enqueue(job), 1000 * problem.wait);
    job.show({ state: "busy", problem, until });
    return;
  }
  job.show({ state: "failed", problem });
  if (problem.kind === "key") {
    keyless.add(job);
    if (!locked) dispatchEvent(new CustomEvent("key-wanted", { detail: problem }));
    locked = true;
  }
  if (problem.kind !== "offline") return;
  job.offline = true;
  addEventListener("online", () => job.offline && enqueue(job), { once: true });
}
