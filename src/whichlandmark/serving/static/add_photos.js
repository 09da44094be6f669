// Add photos to the gallery, one request per photo, so that a bad photo does not stop the others.

import { fetchJson, form } from "./api.js";
import { announce, el, put } from "./dom.js";
import { fileProblem } from "./upload.js";
import { withKey } from "./key.js";
import { counted, sentence } from "./format.js";

const MAX_ADD_TRIES = 8; // per photo, while the server is busy

/** Add files to a landmark, with progress and result in `host`. Returns {added, there, failed: [{name, message}]}. */
export async function addPhotos(landmark, files, config, host) {
  const bar = el("progress", { max: files.length, value: 0, "aria-label": "Photos added" });
  const words = el("p", { class: "small" });
  put(host, el("div", { class: "adding" }, words, bar));
  const done = { added: 0, there: 0, failed: [] };
  for (const [i, file] of files.entries()) {
    words.textContent = `Adding photo ${i + 1} of ${files.length}…`;
    try {
      await addOne(landmark, file, config, words, done);
    } catch (error) {
      done.failed.push({ name: file.name, message: error.message });
      if (["key", "offline", "unreachable"].includes(error.kind)) break; // the rest would fail too
    }
    bar.value = i + 1;
  }
  put(host, report(done, files.length));
  announce(summary(done, files.length));
  return done;
}

async function addOne(landmark, file, config, words, done) {
  const fault = await fileProblem(file, config);
  if (fault) throw new Error(`${fault.message} ${fault.hint}`);
  const path = `v1/landmarks/${encodeURIComponent(landmark)}/photos`;
  const post = () => fetchJson(path, { method: "POST", body: form("photos", [file]) });
  const reply = await withRetries(() => withKey(post), words);
  done.added += reply.added.length;
  done.there += (reply.already_there ?? []).length;
  for (const { landmark: other } of reply.other_landmark ?? []) {
    const where = other ? `under “${other}”` : "as a photo without a landmark";
    done.failed.push({ name: file.name, message: `The gallery has this photo ${where} already.` });
  }
  for (const { photo, error } of reply.failed ?? [])
    done.failed.push({ name: photo || file.name, message: error.message });
}

async function withRetries(action, words) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await action();
    } catch (error) {
      if (error.kind !== "busy" || tries === MAX_ADD_TRIES) throw error;
      words.textContent = `The server is busy; retrying in ${error.wait} s…`;
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.wait));
    }
  }
}

function summary({ added, there, failed }, all) {
  const rest = all - added - there - failed.length;
  const parts = [`${counted(added, "photo")} added`];
  if (there) parts.push(`${there} already there`);
  if (failed.length) parts.push(`${failed.length} could not be used`);
  if (rest > 0) parts.push(`${rest} not sent`);
  return `${parts.join(", ")}.`;
}

function report(done, all) {
  const failures = done.failed.map(({ name, message }) =>
    el("li", {}, el("b", {}, name), ` ${sentence(message)}`),
  );
  return el(
    "div",
    { class: "adding" },
    el("p", {}, summary(done, all)),
    failures.length ? el("ul", { class: "problems" }, failures) : null,
  );
}
