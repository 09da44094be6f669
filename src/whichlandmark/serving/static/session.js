// Keep the answers of this tab over a reload: in IndexedDB, under an id that only this tab has.
// Without IndexedDB (some private windows) nothing is kept, and everything else works.

const NAME = "whichlandmark";
const STORE = "answers";
const TAB = "whichlandmark.tab";
const MAX_AGE = 24 * 60 * 60 * 1000; // ms; older answers are deleted when a page is opened
const MAX_KEPT = 500;
const MAX_BYTES = 200_000_000; // of the kept photos; the answers of further ones are kept without

let database = null; // a promise
const sizes = new Map(); // id → bytes kept

function tabId() {
  try {
    let id = sessionStorage.getItem(TAB);
    if (!id) {
      id = [...crypto.getRandomValues(new Uint32Array(3))].map((n) => n.toString(36)).join("");
      sessionStorage.setItem(TAB, id);
    }
    return id;
  } catch {
    return "";
  }
}

function openedStore() {
  database ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open(NAME, 1);
      request.addEventListener("upgradeneeded", () => {
        request.result.createObjectStore(STORE, { keyPath: ["tab", "id"] });
      });
      request.addEventListener("success", () => resolve(request.result));
      for (const event of ["error", "blocked"])
        request.addEventListener(event, () => resolve(null));
    } catch {
      resolve(null);
    }
  });
  return database;
}

/** Run work(store) in a transaction; resolves when it is complete, also where it failed. */
async function transact(mode, work) {
  const base = await openedStore();
  if (!base) return;
  try {
    const transaction = base.transaction(STORE, mode);
    work(transaction.objectStore(STORE));
    await new Promise((resolve) => {
      for (const event of ["complete", "error", "abort"])
        transaction.addEventListener(event, resolve);
    });
  } catch {
    // the browser's room is used up or the database was closed: the answers stay on the page
  }
}

/** The kept records of this tab in their order; those of any tab that are too old are deleted. */
export async function keptRecords() {
  const [tab, found] = [tabId(), []];
  if (!tab) return found;
  await transact("readwrite", (store) => {
    store.openCursor().addEventListener("success", ({ target }) => {
      const cursor = target.result;
      if (!cursor) return;
      const { value } = cursor;
      if (Date.now() - value.time > MAX_AGE) cursor.delete();
      else if (value.tab === tab) {
        found.push(value);
        sizes.set(value.id, value.photo?.size ?? 0);
      }
      cursor.continue();
    });
  });
  return found.sort((a, b) => a.order - b.order);
}

/** Keep a record {id, order, …}, whose photo is left out where the room is used up. */
export async function keepRecord(record) {
  const tab = tabId();
  const bytes = record.photo?.size ?? 0;
  if (!tab || (sizes.size >= MAX_KEPT && !sizes.has(record.id))) return;
  const used = [...sizes].reduce((sum, [id, size]) => sum + (id === record.id ? 0 : size), 0);
  const fits = used + bytes <= MAX_BYTES;
  sizes.set(record.id, fits ? bytes : 0);
  await transact("readwrite", (store) =>
    store.put({ ...record, photo: fits ? record.photo : null, tab, time: Date.now() }),
  );
}

/** Delete the records with these ids. */
export async function forgetRecords(ids) {
  const tab = tabId();
  if (!tab || !ids.length) return;
  for (const id of ids) sizes.delete(id);
  await transact("readwrite", (store) => {
    for (const id of ids) store.delete([tab, id]);
  });
}
