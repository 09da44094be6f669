// Many photos as a list: a row each, filters, groups, selection; one card is open at a time.

import { answerCard, failure, progressText } from "./answer.js";
import { button, el, put } from "./dom.js";
import { saveAnswers } from "./export.js";
import { percent, titled } from "./format.js";
import { t } from "./text.js";
import { guessOf, headline, toneOf } from "./tone.js";
import { addForm } from "./what_next.js";

const FILTERS = {
  all: () => true,
  sure: ({ answer }) => Boolean(answer) && toneOf(answer) === "sure",
  unsure: ({ answer }) => Boolean(answer) && ["likely", "maybe"].includes(toneOf(answer)),
  none: ({ answer }) => Boolean(answer) && toneOf(answer) === "none",
  open: ({ answer }) => !answer,
};

/** The list in `host`: {arrange(entries), update(entry), open(entry), nodeOf(entry)}. */
export function rowsView(host, config, actions) {
  const view = {
    config,
    actions,
    entries: [],
    rows: new Map(), // entry → its row
    selected: new Set(),
    filter: "all",
    grouped: false,
    opened: null, // {entry, card}
    dirty: new Set(),
    frame: 0,
  };
  const filters = Object.keys(FILTERS).map((name) => [name, filterButton(view, name)]);
  view.filters = Object.fromEntries(filters);
  view.all = el("input", { type: "checkbox", id: "select-all" });
  view.all.addEventListener("change", () => selectShown(view, view.all.checked));
  view.group = button(t("list.group"), () => toggleGroups(view), {
    "aria-label": t("list.group_label"),
    "aria-pressed": "false",
  });
  view.selection = el("div", { class: "chosen" });
  view.list = el("ul", { class: "rows", "aria-label": t("list.photos") });
  put(host, filterBar(view), toolBar(view), view.selection, view.list);
  return {
    arrange: (entries) => arrangeRows(view, entries),
    update: (entry) => {
      view.dirty.add(entry);
      view.frame ||= requestAnimationFrame(() => refreshRows(view));
    },
    open: (entry) => openRow(view, entry),
    nodeOf: (entry) => view.rows.get(entry)?.node,
  };
}

const filterBar = (view) =>
  el(
    "div",
    { class: "filters", role: "group", "aria-label": t("list.filters") },
    Object.values(view.filters),
  );

const toolBar = (view) =>
  el(
    "div",
    { class: "tools" },
    el("label", { class: "check", for: "select-all" }, view.all, t("list.select_all")),
    view.group,
  );

function filterButton(view, name) {
  const choose = () => {
    view.filter = name;
    layRows(view);
  };
  return button("", choose, { "aria-pressed": String(name === "all"), class: "filter" });
}

function toggleGroups(view) {
  view.grouped = !view.grouped;
  view.group.setAttribute("aria-pressed", String(view.grouped));
  layRows(view);
}

/** Show these entries; rows of others are dropped with what they hold. */
function arrangeRows(view, entries) {
  view.entries = entries;
  for (const [entry, row] of view.rows)
    if (!entries.includes(entry)) {
      if (view.opened?.entry === entry) closeRow(view);
      row.drop();
      view.rows.delete(entry);
      view.selected.delete(entry);
    }
  for (const entry of entries) if (!view.rows.has(entry)) view.rows.set(entry, rowOf(view, entry));
  layRows(view);
}

function refreshRows(view) {
  view.frame = 0;
  for (const entry of view.dirty) {
    view.rows.get(entry)?.update();
    if (view.opened?.entry === entry) view.opened.card.show();
  }
  view.dirty.clear();
  layRows(view);
}

// — layout: filters, groups, selection

const shownEntries = (view) =>
  view.entries.filter((entry) => FILTERS[view.filter](entry) || view.opened?.entry === entry);

function layRows(view) {
  for (const [name, test] of Object.entries(FILTERS)) {
    const n = view.entries.filter(test).length;
    const node = view.filters[name];
    node.textContent = t(`list.filter_${name}`, { n });
    node.setAttribute("aria-pressed", String(view.filter === name));
    node.hidden = n === 0 && name !== "all" && view.filter !== name;
  }
  const shown = shownEntries(view);
  const nodes = view.grouped ? groupedNodes(view, shown) : shown.map((e) => view.rows.get(e).node);
  const focus = document.activeElement;
  placeNodes(view.list, nodes);
  if (view.list.contains(focus)) focus.focus({ preventScroll: true });
  if (!shown.length) put(view.list, el("li", { class: "small" }, t("list.empty")));
  showSelection(view, shown);
}

/** Bring the children of a node into an order; those that stay are not moved, so focus stays. */
export function placeNodes(parent, nodes) {
  for (const child of [...parent.children]) if (!nodes.includes(child)) child.remove();
  nodes.forEach((node, i) => {
    if (parent.children[i] !== node) parent.insertBefore(node, parent.children[i] ?? null);
  });
}

const LAST_GROUPS = ["maybe", "none", "open"]; // after the landmarks

function groupOf({ answer }) {
  if (!answer) return "open";
  const tone = toneOf(answer);
  return tone === "maybe" || tone === "none" ? tone : `landmark ${answer.landmark}`;
}

function groupedNodes(view, shown) {
  const groups = Map.groupBy ? Map.groupBy(shown, groupOf) : grouping(shown);
  const rank = ([name, members]) =>
    LAST_GROUPS.includes(name) ? LAST_GROUPS.indexOf(name) + 1 : -members.length;
  return [...groups]
    .sort((a, b) => rank(a) - rank(b))
    .flatMap(([name, members]) => [
      groupHead(view, name, members),
      ...members.map((entry) => view.rows.get(entry).node),
    ]);
}

function grouping(shown) {
  const groups = new Map();
  for (const entry of shown) {
    const name = groupOf(entry);
    groups.set(name, [...(groups.get(name) ?? []), entry]);
  }
  return groups;
}

function groupHead(view, name, members) {
  const words = LAST_GROUPS.includes(name)
    ? t(`list.group_${name}`)
    : titled(guessOf(members[0].answer));
  const select = () => {
    for (const entry of members) view.selected.add(entry);
    layRows(view);
  };
  return el(
    "li",
    { class: "group" },
    el(
      "h3",
      {},
      words,
      " ",
      el("span", { class: "small" }, t("common.photos", { n: members.length })),
    ),
    button(t("list.select_group"), select, {
      class: "quiet",
      "aria-label": t("list.select_group_named", { name: words }),
    }),
  );
}

function selectShown(view, wanted) {
  for (const entry of shownEntries(view))
    if (wanted) view.selected.add(entry);
    else view.selected.delete(entry);
  layRows(view);
}

function showSelection(view, shown) {
  const chosen = view.entries.filter((entry) => view.selected.has(entry));
  for (const [entry, row] of view.rows) row.check.checked = view.selected.has(entry);
  view.all.checked = shown.length > 0 && shown.every((entry) => view.selected.has(entry));
  view.all.indeterminate = !view.all.checked && chosen.length > 0;
  const key = chosen.map((entry) => entry.id).join(" ");
  if (view.selectionKey === key) return; // so that a form that is open in it stays
  view.selectionKey = key;
  put(view.selection, ...(chosen.length ? selectionTools(view, chosen) : []));
}

function selectionTools(view, chosen) {
  const { actions, config } = view;
  const panel = el("div", { class: "inset" });
  const again = () => chosen.forEach((entry) => actions.retry(entry));
  const named = chosen.find(({ answer }) => answer?.landmark);
  const add = () => {
    const ready = chosen.filter((entry) => entry.photo);
    addForm(panel, ready, config, named ? guessOf(named.answer) : null);
  };
  return [
    el("p", { role: "status" }, t("list.selected", { n: chosen.length })),
    el(
      "div",
      { class: "buttons" },
      button(t("list.remove"), () => actions.removeMany(chosen)),
      button(t("next.ask_again"), again),
      button(t("next.add"), add),
      button(t("next.save_csv"), () => saveAnswers(chosen, "csv")),
      button(t("next.save_json"), () => saveAnswers(chosen, "json")),
    ),
    panel,
  ];
}

// — one row

function rowOf(view, entry) {
  const check = el("input", {
    type: "checkbox",
    "aria-label": t("list.select", { name: entry.name }),
  });
  check.addEventListener("change", () => {
    if (check.checked) view.selected.add(entry);
    else view.selected.delete(entry);
    layRows(view);
  });
  const image = el("img", { alt: "", decoding: "async", width: 56, height: 56, hidden: true });
  const words = el("b");
  const number = el("span", { class: "n" });
  const opener = el(
    "button",
    { type: "button", class: "open", "aria-expanded": "false" },
    el("span", { class: "tile" }, image),
    el("span", { class: "row-words" }, words, el("span", { class: "small" }, entry.name)),
    number,
  );
  const node = el("li", { class: "entry" }, el("label", { class: "tick" }, check), opener);
  if (entry.parent) node.classList.add("of-part");
  opener.addEventListener("click", () =>
    view.opened?.entry === entry ? closeRow(view) : openRow(view, entry),
  );
  const row = { node, check, opener, url: "", image };
  row.update = () => updateRow(entry, row, words, number);
  row.drop = () => {
    URL.revokeObjectURL(row.url);
    node.remove();
  };
  row.update();
  return row;
}

function updateRow(entry, row, words, number) {
  const { answer, state } = entry;
  row.node.dataset.state = state;
  row.node.dataset.tone = answer ? toneOf(answer) : "";
  if (entry.thumbnail && !row.url) {
    row.url = URL.createObjectURL(entry.thumbnail);
    row.image.src = row.url;
    row.image.hidden = false;
  }
  if (state === "answered") words.textContent = headline(answer, true);
  else if (state === "failed") words.textContent = failure(entry.problem);
  else if (state === "stopped") words.textContent = t("answer.stopped");
  else if (state === "busy") words.textContent = t("answer.busy");
  else words.textContent = progressText(entry);
  const counts = state === "answered" && toneOf(answer) !== "none";
  number.textContent = counts ? percent(answer.confidence) : "";
}

function openRow(view, entry) {
  closeRow(view);
  const row = view.rows.get(entry);
  if (!row) return;
  const card = answerCard(entry, view.config, view.actions, true);
  card.show();
  row.node.append(card.card);
  row.opener.setAttribute("aria-expanded", "true");
  view.opened = { entry, card };
  const { top } = row.node.getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) row.node.scrollIntoView({ block: "start" });
}

function closeRow(view) {
  if (!view.opened) return;
  const { entry, card } = view.opened;
  view.opened = null;
  card.close();
  view.rows.get(entry)?.opener.setAttribute("aria-expanded", "false");
}
