// The view of new landmarks: groups of photos that the gallery does not know, to name or put aside.

import { fetchJson, problemText, retryBusy, withQuery } from "./api.js";
import { placeLink } from "./candidates.js";
import { groupPath, groupPhotos } from "./discovery_photos.js";
import { announce, button, byId, confirmAction, el, put } from "./dom.js";
import { readerLanguage, titled, townWords } from "./format.js";
import { needsKey, withKey, writeAccess } from "./key.js";
import { pickLandmark } from "./landmark_picker.js";
import { notify } from "./notices.js";
import { picturesOf } from "./photo_changes.js";
import { landmarkHash } from "./router.js";
import { t } from "./text.js";

const GROUPS_PAGE = 10;
const GROUP_STATES = ["open", "named", "dismissed"];
const UNDO_GROUP = 60; // seconds
const SETTLING_MS = 400; // in which the next group moves up, and the second of two clicks is lost
const NAMES_TOLD = 4; // files that are named in a sentence
const NAMING_MS = 900000; // that the server may take, because it reads every photo of a group

// open: number of groups to name; deciding: of decisions on their way; later: ids of those that
// were put off on this visit; dropLast: takes the last notice away, because many groups are decided
// in a minute.
const groupsView = {
  state: "open",
  groups: [],
  total: 0,
  open: 0,
  deciding: 0,
  later: new Set(),
  dropLast: () => null,
};

export function wireDiscoveries() {
  const choice = byId("discoveries-state");
  for (const state of GROUP_STATES)
    choice.append(el("option", { value: state }, t(`groups.${state}`)));
  choice.addEventListener("change", () => {
    groupsView.state = choice.value;
    loadGroups();
  });
  addEventListener("key-changed", () => {
    countGroups();
    if (!byId("discoveries").hidden) showDiscoveries({}, true);
  });
}

/** Show the link to this view where the caller may change the gallery and there are groups. */
export async function countGroups() {
  const { write } = await writeAccess();
  const path = withQuery("v1/discoveries", { state: "open", limit: 1 });
  const found = write ? await fetchJson(path).catch(() => null) : null;
  groupsView.open = found?.open ?? 0;
  showGroupsLink();
}

function showGroupsLink() {
  const { open } = groupsView;
  const link = byId("to-discoveries");
  link.hidden = !open && byId("discoveries").hidden;
  link.textContent = open ? t("nav.groups_open", { n: open }) : t("groups.title");
}

/** Show the groups. moved: false = the reader comes back from a landmark, and goes on. */
export function showDiscoveries(_, moved) {
  byId("to-discoveries").hidden = false;
  if (!moved && byId("discoveries-list").children.length) return null;
  groupsView.later.clear();
  return needsKey() ? null : loadGroups();
}

/** Load the first groups, or `more` after those that are there. */
async function loadGroups(more = false) {
  const { state, groups, deciding } = groupsView;
  const known = new Set(more ? groups.map(({ id }) => id) : []);
  // the server's list gets shorter while decisions are on their way
  const offset = Math.max(0, known.size - deciding);
  const limit = GROUPS_PAGE + (known.size - offset);
  const lang = readerLanguage();
  try {
    const path = withQuery("v1/discoveries", { state, offset, limit, lang });
    const found = await withKey(() => fetchJson(path));
    if (state !== groupsView.state) return;
    const { discoveries, total, open } = found;
    const added = discoveries.filter(({ id }) => !known.has(id));
    const items = added.map(groupItem);
    Object.assign(groupsView, { total, open });
    groupsView.groups = more ? [...groupsView.groups, ...added] : added;
    if (!more) put(byId("discoveries-list"));
    byId("discoveries-list").append(...items);
    if (more) items[0]?.querySelector("button")?.focus();
    showRest();
  } catch (error) {
    groupsFailed(error);
  }
}

/** The count, the link, what comes after the list, and what to do where there is nothing. */
function showRest() {
  const { groups, total, state, later } = groupsView;
  showGroupsLink();
  byId("discoveries-count").textContent = t("groups.count", { n: total });
  const left = total - groups.length;
  const more = () => loadGroups(true);
  put(
    byId("discoveries-more"),
    left > 0 ? button(t("review.more", { n: Math.min(GROUPS_PAGE, left) }), more) : null,
    later.size ? el("p", {}, t("groups.put_off", { n: later.size })) : null,
    later.size ? button(t("groups.show_put_off"), showPutOff) : null,
  );
  if (total) return put(byId("discoveries-empty"));
  const how = [
    el("p", {}, t("groups.how")),
    el("pre", {}, el("code", {}, "whichlandmark discover PHOTOS -r RECOGNIZER.wl")),
  ];
  put(
    byId("discoveries-empty"),
    el("p", { class: "lead" }, t(state === "open" ? "groups.nothing_open" : "review.nothing")),
    state === "open" ? how : null,
  );
}

function showPutOff() {
  const [first] = groupsView.later;
  groupsView.later.clear();
  for (const item of byId("discoveries-list").children) item.hidden = false;
  showRest();
  byId("discoveries-list").querySelector(`[data-group="${CSS.escape(first)}"] h2`)?.focus();
}

// ——— one group

/** A group as a list item: what it may be, what to do with it, its photos. */
function groupItem(group) {
  const view = { group, left: new Set(), item: null, problem: el("div") };
  view.told = el("p", { class: "small", role: "status" });
  const shown = groupPhotos(view, {
    changed: () => loadGroups(),
    failed: (error) => sayProblem(view, error),
  });
  const words = group.state === "open" ? openWords(view) : decidedWords(view);
  const heading = el("h2", { tabindex: -1 }, t("groups.heading", { n: group.total }));
  const told = el("div", { class: "group-words" }, heading, words, view.problem);
  view.item = el("li", { class: "discovery", "data-group": group.id }, told, shown);
  return view.item;
}

/** The place of a group as a link to a map; null where no photo says where it was taken. */
const takenAt = (group) =>
  group.latitude == null
    ? null
    : el("p", { class: "small" }, t("groups.taken"), " ", placeLink(group));

/** Where a suggestion comes from; what the page has no words for is told in the server's. */
function reasonWords({ reason, why }) {
  if (reason) return el("p", { class: "small" }, t(`groups.why_${reason}`));
  return why ? el("p", { class: "small", lang: "en" }, why) : null;
}

function openWords(view) {
  const { suggestion } = view.group;
  const decide = (body) => () => decideOnGroup(view, body);
  return [
    suggestion
      ? el(
          "div",
          { class: "suggestion" },
          el("p", {}, t("groups.perhaps"), " ", el("b", { dir: "auto" }, suggestion.title)),
          townWords(suggestion) ? el("p", {}, townWords(suggestion)) : null,
          reasonWords(suggestion),
        )
      : null,
    takenAt(view.group),
    el(
      "div",
      { class: "buttons" },
      suggestion
        ? button(
            t(suggestion.known ? "review.approve" : "groups.take", { name: suggestion.title }),
            decide({ action: "name", landmark: suggestion.landmark }),
            { class: "main" },
          )
        : null,
      button(t(suggestion ? "groups.other_name" : "groups.name"), () => askForName(view), {
        class: suggestion ? "" : "main",
      }),
      button(t("groups.dismiss"), decide({ action: "dismiss" })),
      button(t("groups.later"), () => putOff(view), { class: "quiet" }),
    ),
    view.group.total > 1 ? el("p", { class: "small" }, t("groups.untick")) : null,
    view.told,
  ];
}

function decidedWords(view) {
  const { group } = view;
  const named = group.state === "named";
  return [
    named
      ? el("p", {}, t("groups.was_named"), " ", landmarkLink(group))
      : el("p", {}, t("groups.was_dismissed")),
    takenAt(group),
    el(
      "div",
      { class: "buttons" },
      button(t(named ? "groups.take_back" : "groups.ask_again"), () => reopenGroup(view)),
    ),
  ];
}

const landmarkLink = (group) =>
  el("a", { href: landmarkHash(group.landmark), dir: "auto" }, titled(group));

// ——— decisions

async function askForName(view) {
  const { group, left } = view;
  const kept = group.photos.filter(({ number }) => !left.has(number));
  const type = el("p", { class: "small" }, t("groups.type"));
  const extra = [picturesOf(kept, group.total - left.size), type];
  const target = await pickLandmark({ title: t("review.which"), extra });
  if (target) decideOnGroup(view, { action: "name", landmark: target.landmark });
}

async function decideOnGroup(view, given) {
  const { group, left, item } = view;
  const numbers = [...Array(group.total).keys()].filter((number) => !left.has(number));
  const named = given.action === "name";
  put(view.problem);
  if (named && !numbers.length) return sayProblem(view, t("groups.all_left_out"));
  const keep = left.size ? { keep: numbers } : {};
  const body = named ? { ...given, ...keep, version: group.version } : given;
  const working = el("p", { role: "status" });
  enableGroup(item, false);
  groupsView.deciding += 1;
  put(view.problem, working, named ? el("div", { class: "running" }) : null);
  if (named) working.textContent = t("groups.naming", { n: numbers.length });
  try {
    const asked = { method: "POST", body, timeout: NAMING_MS };
    const post = () => fetchJson(groupPath(group), asked);
    const wait = (n) => (working.textContent = t("edit.busy", { n }));
    const reply = await retryBusy(() => withKey(post), wait);
    groupsView.open = Math.max(0, groupsView.open - 1);
    groupsView.total = Math.max(0, groupsView.total - 1);
    showDecision(view, reply);
  } catch (error) {
    enableGroup(item, true);
    sayProblem(view, error);
  } finally {
    groupsView.deciding -= 1;
  }
}

function enableGroup(item, enabled) {
  for (const one of item.querySelectorAll("button, input")) one.disabled = !enabled;
}

function sayProblem(view, error) {
  const words = typeof error === "string" ? error : problemText(error);
  put(view.problem, el("p", { class: "problem", role: "alert" }, words));
}

/** Put what was done in the place of a group, offer to undo it, and go to the next one. */
function showDecision({ group, item }, reply) {
  const { state, landmark } = reply.discovery;
  const named = state === "named";
  const words = named ? namedWords(reply) : t("groups.dismissed_now");
  const more = named ? troubleWords(reply) : [];
  const next = nextGroup(item);
  const undo = () => undoDecision(group, item);
  const again = () => undo().then(announce, (error) => notify(problemText(error)));
  const undoes = { class: "quiet", "aria-label": `${t("edit.undo")}: ${words}` };
  item.className = "discovery decided";
  put(
    item,
    el("p", {}, words),
    ...more.map((line) => el("p", { class: "small" }, line)),
    el(
      "div",
      { class: "buttons" },
      named ? el("a", { class: "tall", href: landmarkHash(landmark) }, t("groups.see")) : null,
      button(t("edit.undo"), again, undoes),
    ),
  );
  const list = byId("discoveries-list");
  list.classList.add("settling");
  setTimeout(() => list.classList.remove("settling"), SETTLING_MS);
  groupsView.groups = groupsView.groups.filter((one) => one !== group);
  showRest();
  (next?.querySelector("h2") ?? byId("discoveries-title")).focus();
  groupsView.dropLast();
  groupsView.dropLast = notify([words, ...more].join(" "), undo, UNDO_GROUP);
  if (named) dispatchEvent(new Event("gallery-changed"));
}

/** Take a decision back: the group is in its place again. Resolves to what to say then. */
async function undoDecision(group, item) {
  const { discovery } = await reopened(group);
  groupsView.dropLast();
  if (!item.isConnected) loadGroups();
  else {
    const shown = { ...discovery, photos: discovery.photos.slice(0, group.photos.length) };
    const back = groupItem(shown);
    groupsView.groups.push(shown);
    groupsView.total += 1;
    groupsView.open += 1;
    item.replaceWith(back);
    showRest();
    back.querySelector("h2").focus();
  }
  dispatchEvent(new Event("gallery-changed"));
  return t("groups.undone");
}

function namedWords({ discovery, added, moved }) {
  const n = added.length + moved.length;
  const name = titled(discovery);
  return n ? t("groups.named_now", { n, name }) : t("groups.none_added", { name });
}

/** Sentences about photos that could not be added. */
function troubleWords({ not_added: lost }) {
  const told = (key, why) => {
    const names = lost.filter(({ reason }) => reason === why).map(({ photo }) => photo);
    const shown = names.slice(0, NAMES_TOLD).join(", ");
    const rest = names.length - NAMES_TOLD;
    const list = rest > 0 ? `${shown} ${t("edit.and_more", { n: rest })}` : shown;
    return names.length ? [t(key, { n: names.length, names: list })] : [];
  };
  return [
    ...told("groups.gone", "gone"),
    ...told("groups.not_used", "not_used"),
  ];
}

/** The next open group of the list, else the one before. */
function nextGroup(item) {
  const open = [...byId("discoveries-list").querySelectorAll(".discovery:not(.decided, [hidden])")];
  const at = open.indexOf(item);
  return open[at + 1] ?? open[at - 1] ?? null;
}

function putOff({ group, item }) {
  const next = nextGroup(item);
  groupsView.later.add(group.id);
  item.hidden = true;
  showRest();
  (next?.querySelector("h2") ?? byId("discoveries-title")).focus();
  announce(t("groups.put_off", { n: groupsView.later.size }));
}

/** Take a decision back on the server; resolves to its reply. */
function reopened(group) {
  const body = { action: "reopen" };
  return withKey(() => fetchJson(groupPath(group), { method: "POST", body }));
}

async function reopenGroup(view) {
  const { group } = view;
  if (group.state === "named") {
    const name = titled(group);
    const yes = t("groups.take_back");
    const extra = [picturesOf(group.photos, group.total)];
    const words = t("groups.take_back_words", { name });
    if (!(await confirmAction(t("groups.take_back_ask"), words, yes, { extra }))) return;
  }
  enableGroup(view.item, false);
  try {
    await reopened(group);
    notify(t("groups.undone"));
    dispatchEvent(new Event("gallery-changed"));
    await loadGroups();
    byId("discoveries-title").focus();
  } catch (error) {
    enableGroup(view.item, true);
    sayProblem(view, error);
  }
}

function groupsFailed(error) {
  for (const id of ["discoveries-list", "discoveries-more"]) put(byId(id));
  const again = button(t("common.try_again"), () => loadGroups());
  const words = problemText(error);
  put(byId("discoveries-empty"), el("p", { class: "problem", role: "alert" }, words), again);
  announce(words);
}
