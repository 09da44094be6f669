// One photo's way to its answer: waiting, asking, busy, failed, answered. Two are asked at a time.

import { Problem, ask, form } from "./api.js";
import { unfit } from "./intake.js";

const AT_ONCE = 2;
const TRIES = 6; // how often a busy server is asked by itself; then a person decides

const line = [];
let running = 0;

/**
 * Ask about a file. show({state, …}) is called at every change:
 * waiting | asking | busy {problem, until} | failed {problem} | answered {answer, request, ms}.
 * Returns {again, leave}.
 */
export function inquire(file, config, show) {
  const job = { file, config, show, tries: 0, gone: new AbortController(), timer: 0 };
  enqueue(job);
  return {
    again: () => {
      clearTimeout(job.timer);
      job.tries = 0;
      enqueue(job);
    },
    leave: () => {
      clearTimeout(job.timer);
      job.gone.abort();
      const place = line.indexOf(job);
      if (place >= 0) line.splice(place, 1);
    },
  };
}

function enqueue(job) {
  if (job.gone.signal.aborted || line.includes(job)) return;
  job.show({ state: "waiting" });
  line.push(job);
  next();
}

function next() {
  while (running < AT_ONCE && line.length) {
    running += 1;
    const job = line.shift();
    answer(job)
      .catch((error) => settle(job, error))
      .finally(() => {
        running -= 1;
        next();
      });
  }
}

async function answer(job) {
  const fault = await unfit(job.file, job.config);
  if (fault) throw new Problem("unfit", fault.message, fault);
  job.show({ state: "asking" });
  const { signal } = job.gone;
  const body = form("photos", [job.file]);
  const reply = await ask("v1/recognize", { method: "POST", body, signal });
  const [result] = reply.results;
  if (result.error) throw new Problem("unfit", result.error.message, result.error);
  job.show({
    state: "answered",
    answer: result,
    request: reply.request_id,
    ms: reply.timings_ms?.total,
  });
}

function settle(job, error) {
  if (job.gone.signal.aborted) return;
  const problem =
    error instanceof Problem
      ? error
      : new Problem("unreachable", `This page stumbled: ${error.message}`);
  job.tries += 1;
  if (problem.kind === "busy" && job.tries < TRIES) {
    const until = Date.now() + 1000 * problem.wait;
    job.timer = setTimeout(() => enqueue(job), 1000 * problem.wait);
    job.show({ state: "busy", problem, until });
  } else {
    job.show({ state: "failed", problem });
    if (problem.kind === "offline") addEventListener("online", () => enqueue(job), { once: true });
  }
}
