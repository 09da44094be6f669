// One photo of the gallery, large, with its credit; the arrow keys go to the next ones.

import { photoPath, showImage, withQuery } from "./api.js";
import { creditLine } from "./credit_line.js";
import { button, byId, el, makeClosable, put } from "./dom.js";
import { t } from "./text.js";

const LARGE = 1600; // pixels of the long side

const enlarged = { grid: null, at: 0, tools: [] };

export function wirePhoto() {
  const dialog = makeClosable(byId("photo"));
  dialog.addEventListener("keydown", ({ key, target }) => {
    if (target.matches("input")) return;
    if (key === "ArrowLeft") step(-1);
    if (key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => put(byId("photo-body")));
}

/** Open photo number `at` of a grid. tools: [words, act(photo) → whether it changed, class]. */
export function openPhoto(grid, at, tools) {
  Object.assign(enlarged, { grid, at, tools });
  byId("photo").showModal();
  showLarge();
  byId("photo-title").focus();
}

function step(by) {
  const at = enlarged.at + by;
  if (at < 0 || at >= enlarged.grid.photos.length) return;
  enlarged.at = at;
  const used = document.activeElement?.dataset.step;
  showLarge();
  const again = byId("photo-body").querySelector(`[data-step="${used}"]:not(:disabled)`);
  (again ?? byId("photo-title")).focus();
}

function showLarge() {
  const { grid, at, tools } = enlarged;
  const photo = grid.photos[at];
  const { title } = grid.view;
  byId("photo-title").textContent = t("landmark.photo_of", {
    title,
    n: at + 1,
    all: grid.photos.length,
  });
  const image = el("img", { alt: t("landmark.photo", { title, n: at + 1 }) });
  const steps = [
    [-1, "common.previous"],
    [1, "common.next"],
  ];
  put(
    byId("photo-body"),
    el("div", { class: "photo-large" }, image),
    el("p", { class: "small" }, creditLine(photo)),
    el(
      "div",
      { class: "buttons" },
      ...steps.map(([by, words]) =>
        button(t(words), () => step(by), {
          "data-step": by,
          disabled: !grid.photos[at + by],
        }),
      ),
      ...tools.map(([words, act, kind]) =>
        button(words, async () => (await act(photo)) && byId("photo").close(), { class: kind }),
      ),
    ),
  );
  showImage(image, withQuery(`${photoPath(photo.id)}/preview`, { side: LARGE }), photo.thumbnail);
}
