// Photos of the gallery as a grid: opened large, selected, and moved, credited or removed together.

import { showImage } from "./api.js";
import { creditLine } from "./credit_line.js";
import { announce, button, el, put } from "./dom.js";
import { t } from "./text.js";
import { openPhoto } from "./photo_view.js";
import { creditPhotos } from "./photo_credits.js";
import { movePhotos, removePhotos } from "./photo_changes.js";

const PAGE = 24;
const MOST_AT_ONCE = 200; // that the server lists

/**
 * A grid of photos: {node, load}. load() shows it, and again after a change.
 *
 * view: {list(offset, limit) of a page of photos, landmark: label or "", title: its name, config,
 * host: node for progress, changed(total): called after each load, failed(problem)}.
 */
export function photoGrid(view) {
  const grid = {
    view,
    photos: [],
    total: 0,
    selected: new Map(),
    list: el("ul", { class: "thumbs photos" }),
    bar: el("div", { class: "selection", role: "toolbar", "aria-label": t("landmark.selection") }),
    more: el("div", { class: "buttons" }),
  };
  grid.bar.hidden = true;
  const node = el("div", { class: "grid" }, grid.bar, grid.list, grid.more);
  return { node, load: () => loadPhotos(grid, Math.max(PAGE, grid.photos.length)) };
}

async function loadPhotos(grid, wanted) {
  try {
    const { photos, total } = await grid.view.list(0, Math.min(MOST_AT_ONCE, wanted));
    Object.assign(grid, { photos, total });
    const there = new Set(photos.map(({ id }) => id));
    for (const id of grid.selected.keys()) if (!there.has(id)) grid.selected.delete(id);
    put(grid.list, ...photos.map((photo) => photoItem(grid, photo)));
    showChosen(grid);
    showMore(grid);
    grid.view.changed(total);
  } catch (error) {
    grid.view.failed(error);
  }
}

async function loadMore(grid) {
  try {
    const { photos, total } = await grid.view.list(grid.photos.length, PAGE);
    const first = grid.list.children.length;
    grid.photos.push(...photos);
    grid.total = total;
    grid.list.append(...photos.map((photo) => photoItem(grid, photo)));
    showMore(grid);
    grid.list.children[first]?.querySelector("button").focus();
  } catch (error) {
    grid.view.failed(error);
  }
}

function showMore(grid) {
  const left = grid.total - grid.photos.length;
  const words = t("landmark.more", { n: Math.min(PAGE, left) });
  put(grid.more, left > 0 ? button(words, () => loadMore(grid)) : null);
}

function photoItem(grid, photo) {
  const number = grid.photos.indexOf(photo) + 1;
  const name = t("landmark.photo", { title: grid.view.title, n: number });
  const image = el("img", { alt: name, loading: "lazy", decoding: "async" });
  const open = button(image, () => openGridPhoto(grid, photo), {
    class: "open-photo",
    "aria-label": t("landmark.enlarge", { name }),
  });
  const select = el("input", {
    type: "checkbox",
    "aria-label": t("landmark.select", { name }),
    on: {
      change: () => {
        if (select.checked) grid.selected.set(photo.id, photo);
        else grid.selected.delete(photo.id);
        showChosen(grid);
      },
    },
  });
  select.checked = grid.selected.has(photo.id);
  const item = el(
    "li",
    { "data-photo": photo.id },
    el(
      "figure",
      { class: "thumb" },
      el("div", { class: "pick" }, open, el("label", {}, select)),
      el("figcaption", {}, creditLine(photo)),
    ),
  );
  showImage(image, photo.thumbnail);
  return item;
}

function showChosen(grid) {
  const { bar, selected, photos, list } = grid;
  const boxes = [...list.querySelectorAll("input[type=checkbox]")];
  const focused = bar.contains(document.activeElement);
  bar.hidden = !selected.size;
  if (bar.hidden) {
    put(bar);
    if (focused) list.querySelector("button")?.focus();
    return;
  }
  const mark = (all) => {
    for (const [i, photo] of photos.entries()) {
      boxes[i].checked = all;
      if (all) selected.set(photo.id, photo);
      else selected.delete(photo.id);
    }
    showChosen(grid);
  };
  const chosen = () => [...selected.values()];
  const count = t("landmark.selected", { n: selected.size });
  if (!focused) announce(count);
  put(
    bar,
    el("p", { class: "n" }, count),
    el(
      "div",
      { class: "buttons" },
      button(t("landmark.move"), () => act(grid, movePhotos, chosen())),
      button(t("landmark.credit"), () => act(grid, creditPhotos, chosen())),
      button(t("common.remove"), () => act(grid, removePhotos, chosen()), { class: "danger" }),
      selected.size < photos.length
        ? button(t("landmark.select_all"), () => mark(true), { class: "quiet" })
        : null,
      button(t("landmark.select_none"), () => mark(false), { class: "quiet" }),
    ),
  );
  if (focused) bar.querySelector("button").focus();
}

/** Run a tool on photos; afterwards the grid shows what is there, with the focus near them. */
async function act(grid, tool, photos) {
  const first = grid.photos.findIndex(({ id }) => id === photos[0].id);
  const { total } = grid;
  if (!(await tool(photos, { ...grid.view, total }))) return false;
  grid.selected.clear();
  dispatchEvent(new CustomEvent("gallery-changed", { detail: grid.view.host }));
  await loadPhotos(grid, Math.max(PAGE, grid.photos.length));
  const near = grid.list.children[Math.min(first, grid.list.children.length - 1)];
  near?.querySelector("button").focus();
  return true;
}

function openGridPhoto(grid, photo) {
  const tools = [
    [t("landmark.move"), (one) => act(grid, movePhotos, [one])],
    [t("landmark.credit"), (one) => act(grid, creditPhotos, [one])],
    [t("common.remove"), (one) => act(grid, removePhotos, [one]), "danger"],
  ];
  openPhoto(grid, grid.photos.indexOf(photo), tools);
}
