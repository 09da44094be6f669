// Send photos to the server, two at a time, and report each change of state.

import { Problem, fetchJson, form } from "./api.js";
import { fileProblem } from "./upload.js";

const MAX_ACTIVE = 2;
const MAX_TRIES = 6; // automatic tries while the server is busy

const queue = [];
let active = 0;

/**
 * Recognize the photo in a file. show({state, …}) is called at every change:
 * waiting | recognizing | busy {problem, until} | failed {problem} | answered {answer, request, ms}.
 * Returns {retry, cancel}.
 */
export function recognizePhoto(file, config, show) {
  const job = { file, config, show, tries: 0, cancelled: new AbortController(), timer: 0 };
  enqueue(job);
  return {
    retry: () => {
      clearTimeout(job.timer);
      job.tries = 0;
      enqueue(job);
    },
    cancel: () => {
      clearTimeout(job.timer);
      job.cancelled.abort();
      const place = queue.indexOf(job);
      if (place >= 0) queue.splice(place, 1);
    },
  };
}

function enqueue(job) {
  if (job.cancelled.signal.aborted || queue.includes(job)) return;
  job.show({ state: "waiting" });
  queue.push(job);
  next();
}

function next() {
  while (active < MAX_ACTIVE && queue.length) {
    active += 1;
    const job = queue.shift();
    answer(job)
      .catch((error) => handleError(job, error))
      .finally(() => {
        active -= 1;
        next();
      });
  }
}

async function answer(job) {
  const fault = await fileProblem(job.file, job.config);
  if (fault) throw new Problem("unfit", fault.message, fault);
  job.show({ state: "recognizing" });
  const { signal } = job.cancelled;
  const body = form("photos", [job.file]);
  const reply = await fetchJson("v1/recognize", { method: "POST", body, signal });
  const [result] = reply.results;
  if (result.error) throw new Problem("unfit", result.error.message, result.error);
  job.show({
    state: "answered",
    answer: result,
    request: reply.request_id,
    ms: reply.timings_ms?.total,
  });
}

function handleError(job, error) {
  if (job.cancelled.signal.aborted) return;
  const problem =
    error instanceof Problem
      ? error
      : new Problem("unreachable", `Error of this page: ${error.message}`);
  job.tries += 1;
  if (problem.kind === "busy" && job.tries < MAX_TRIES) {
    const until = Date.now() + 1000 * problem.wait;
    job.timer = setTimeout(() => enqueue(job), 1000 * problem.wait);
    job.show({ state: "busy", problem, until });
  } else {
    job.show({ state: "failed", problem });
    if (problem.kind === "offline") addEventListener("online", () => enqueue(job), { once: true });
  }
}
