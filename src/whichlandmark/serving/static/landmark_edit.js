// The form for what the gallery says of a landmark: names, place, Wikidata, source, label.

import { fetchJson, landmarkPath, problemText, withQuery } from "./api.js";
import {
  button,
  byId,
  closeDialog,
  confirmAction,
  el,
  forgetForms,
  makeClosable,
  put,
  watchForm,
} from "./dom.js";
import { clearFaults, faultAt, isWebAddress } from "./form_faults.js";
import { titled } from "./format.js";
import { withKey } from "./key.js";
import { languageField, languageName, languageTag } from "./languages.js";
import { notify } from "./notices.js";
import { picturesOf } from "./photo_changes.js";
import { placeText, placeValues } from "./places.js";
import { t } from "./text.js";

const WHERE = { city: "edit-city", country: "edit-country", country_code: "edit-country-code" };
const RECORD_FIELDS = ["title", "wikidata", "latitude", "longitude", "source", ...Object.keys(WHERE)];
const REFUSED_FIELDS = [ // what a refusal names → the field
  [/latitude|longitude/i, "edit-place"],
  [/country.code/i, WHERE.country_code],
  [/\bcountry\b/, WHERE.country],
  [/\bcity\b/, WHERE.city],
  [/wikidata/i, "edit-wikidata"],
  [/\bsource\b/, "edit-source"],
  [/\btitle\b/, "edit-name"],
]; // prettier-ignore

const editing = { record: null, finish: null };

export function wireEdit() {
  makeClosable(byId("edit")).addEventListener("close", () => finishEdit(null));
  byId("edit-cancel").addEventListener("click", () => closeDialog(byId("edit")));
  byId("edit-add-name").addEventListener("click", () => {
    const row = nameRow();
    byId("edit-names").append(row);
    row.querySelector("input").focus();
  });
  byId("edit-form").addEventListener("submit", (event) => {
    event.preventDefault();
    saveRecord();
  });
}

/** Edit a landmark. Resolves to its saved record; null = nothing was changed. */
export async function editLandmark(landmark) {
  const record = await withKey(() => fetchJson(landmarkPath(landmark))).catch((error) => {
    notify(problemText(error));
    return null;
  });
  if (!record) return null;
  fillForm(record);
  byId("edit").showModal();
  byId("edit-name").focus();
  return new Promise((resolve) => (editing.finish = resolve));
}

function finishEdit(saved) {
  const { finish } = editing;
  editing.finish = null;
  forgetForms(byId("edit"));
  if (byId("edit").open) byId("edit").close();
  finish?.(saved);
}

function fillForm(record) {
  editing.record = record;
  clearFaults(byId("edit-form"));
  put(byId("edit-problem"));
  const { landmark, title, wikidata, source, names } = record;
  byId("edit-title").textContent = t("edit.landmark", { name: titled(record) });
  byId("edit-name").value = title ?? "";
  byId("edit-name").placeholder = titled({ landmark, title: "" });
  const rowsOfNames = Object.entries(names ?? {}).map(([lang, name]) => nameRow(lang, name));
  put(byId("edit-names"), ...rowsOfNames);
  byId("edit-place").value = placeText(record);
  for (const [name, id] of Object.entries(WHERE)) byId(id).value = record[name] ?? "";
  byId("edit-wikidata").value = wikidata ?? "";
  byId("edit-source").value = source ?? "";
  byId("edit-label").value = landmark;
  watchForm(byId("edit-form"));
}

let rows = 0; // for unique ids

function nameRow(lang = "", name = "") {
  const id = `edit-name-${(rows += 1)}`;
  const language = languageField(`${id}-language`, lang, t("edit.language"));
  const field = el("input", {
    id,
    maxlength: 1000,
    autocomplete: "off",
    dir: "auto",
    "aria-label": lang ? t("edit.name_in", { language: languageName(lang) }) : t("edit.name"),
  });
  field.value = name;
  const remove = button("×", () => {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next?.querySelector("input") ?? byId("edit-add-name")).focus();
  }, { class: "quiet", "aria-label": t("edit.remove_name") }); // prettier-ignore
  const cells = [el("div", {}, language), el("div", {}, field), remove];
  const row = el("li", { class: "name-row" }, cells);
  return row;
}

/** The contents of the form as a record; null where a field is wrong, which is said there. */
function formRecord() {
  const names = {};
  for (const row of byId("edit-names").children) {
    const [language, field] = row.querySelectorAll("input");
    const [tag, name] = [languageTag(language.value), field.value.trim()];
    if (!name && !language.value.trim()) continue;
    if (!tag) return faultAt(language, t("edit.language_fault"));
    if (!name) return faultAt(field, t("edit.name_fault"));
    if (names[tag]) return faultAt(language, t("edit.language_twice"));
    names[tag] = name;
  }
  const place = placeValues(byId("edit-place").value);
  if (!place) return faultAt(byId("edit-place"), t("edit.place_fault"));
  const wikidata = byId("edit-wikidata")
    .value.trim()
    .match(/^(?:https?:\S*\/)?(Q[1-9]\d*)?$/i);
  if (!wikidata) return faultAt(byId("edit-wikidata"), t("edit.wikidata_fault"));
  const source = byId("edit-source").value.trim();
  if (source && !isWebAddress(source)) return faultAt(byId("edit-source"), t("edit.source_fault"));
  const landmark = byId("edit-label").value.trim();
  if (!landmark) return faultAt(byId("edit-label"), t("edit.label_fault"));
  const words = Object.fromEntries(
    Object.entries(WHERE).map(([name, id]) => [name, byId(id).value.trim()]),
  );
  words.country_code = words.country_code.toUpperCase();
  if (!/^([A-Z]{2})?$/.test(words.country_code))
    return faultAt(byId(WHERE.country_code), t("edit.country_code_fault"));
  const title = byId("edit-name").value.trim();
  const item = (wikidata[1] ?? "").toUpperCase();
  return { landmark, title, names, ...place, ...words, wikidata: item, source };
}

/** What is to be changed in a record `before`, as the server takes it; null removes. */
function changesOf(before, after) {
  const changes = {};
  for (const name of RECORD_FIELDS)
    if ((before[name] ?? "") !== (after[name] ?? "")) changes[name] = after[name] || null;
  for (const name of ["latitude", "longitude"]) if (name in changes) changes[name] = after[name]; // 0 is a value
  if ("country" in changes && after.country_code) changes.country_code = after.country_code; // else it goes
  const [old, names] = [before.names ?? {}, {}];
  for (const tag of new Set([...Object.keys(old), ...Object.keys(after.names)]))
    if (old[tag] !== after.names[tag]) names[tag] = after.names[tag] ?? null;
  if (Object.keys(names).length) changes.names = names;
  if (before.landmark !== after.landmark) changes.landmark = after.landmark;
  return changes;
}

async function saveRecord() {
  clearFaults(byId("edit-form"));
  put(byId("edit-problem"));
  const after = formRecord();
  if (!after) return;
  const changes = changesOf(editing.record, after);
  if (!Object.keys(changes).length) return finishEdit(null);
  byId("edit-save").disabled = true;
  try {
    const others = await changedByOthers(changes);
    if (others.asked && !others.goOn) return;
    const saved = await sendRecord(changes);
    if (!saved) return;
    notify(t(others.found ? "edit.saved_after_others" : "edit.saved", { name: titled(after) }));
    finishEdit({ ...after, ...saved });
  } catch (error) {
    saveFailed(error);
  } finally {
    byId("edit-save").disabled = false;
    if (byId("edit").open && document.activeElement === document.body) byId("edit-save").focus();
  }
}

/** Whether somebody else changed the record meanwhile, and whether to save over their values. */
async function changedByOthers(changes) {
  const { record } = editing;
  const now = await withKey(() => fetchJson(landmarkPath(record.landmark)));
  const theirs = changesOf(record, { ...now, names: now.names ?? {} });
  const same = Object.keys(theirs).filter((name) => name in changes);
  const found = Object.keys(theirs).length > 0;
  if (!same.length) return { found, asked: false };
  const values = same.map((name) => [name, name === "names" ? theirs.names : theirs[name]]);
  const extra = values.map(([name, value]) =>
    el("p", {}, el("b", {}, t(`edit.${name}`)), ` ${theirWords(value)}`),
  );
  const goOn = await confirmAction(t("edit.others"), t("edit.others_words"), t("edit.save_mine"), {
    no: t("edit.back"),
    extra,
  });
  return { found, asked: true, goOn };
}

const theirWords = (value) =>
  value && typeof value === "object" ? Object.values(value).join(", ") : String(value ?? "–");

/** Save changes; where the new label is another landmark's, ask whether to merge. null = no. */
async function sendRecord(changes) {
  const { record } = editing;
  const send = (more) =>
    withKey(() =>
      fetchJson(landmarkPath(record.landmark), { method: "PATCH", body: { ...changes, ...more } }),
    );
  try {
    return await send({});
  } catch (error) {
    if (error.code !== "landmark_exists") throw error;
    if (!(await askToMerge(record, changes.landmark))) return null;
    return send({ merge: true });
  }
}

async function askToMerge(from, label) {
  const both = await Promise.all(
    [from.landmark, label].map(async (one) => {
      const path = landmarkPath(one);
      const [item, listed] = await Promise.all([
        fetchJson(path),
        fetchJson(withQuery(`${path}/photos`, { limit: 6 })),
      ]);
      return { item, listed };
    }),
  );
  const extra = both.map(({ item, listed }) =>
    el(
      "div",
      { class: "merged" },
      el(
        "p",
        {},
        el("b", { dir: "auto" }, titled(item)),
        ` ${t("common.photos", { n: listed.total })}`,
      ),
      picturesOf(listed.photos, listed.total),
    ),
  );
  const [one, other] = both.map(({ item }) => titled(item));
  const words = t("edit.merge_words", { one, other });
  return confirmAction(t("edit.merge", { name: other }), words, t("edit.merge_yes"), {
    no: t("common.cancel"),
    extra,
  });
}

function saveFailed(error) {
  const field = REFUSED_FIELDS.find(([words]) => words.test(error.detail))?.[1];
  if (error.code === "invalid_name") return faultAt(byId("edit-label"), t("error.invalid_name"));
  if (error.status === 422 && field) return faultAt(byId(field), t("edit.refused"));
  const words = error.status === 404 ? t("edit.gone") : problemText(error);
  put(
    byId("edit-problem"),
    el("p", { class: "problem", role: "alert" }, words, " ", t("edit.kept")),
  );
}
