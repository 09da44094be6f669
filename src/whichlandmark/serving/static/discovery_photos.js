// The photos of a group of a new landmark: opened large, unticked where they show something else.

import { fetchJson, showImage, withQuery } from "./api.js";
import { button, el, put } from "./dom.js";
import { withKey } from "./key.js";
import { openLarge } from "./large_view.js";
import { t } from "./text.js";

const ENLARGED = 1600; // pixels of the long side

export const groupPath = ({ id }) => `v1/discoveries/${encodeURIComponent(id)}`;

/**
 * The photos of a group as a grid. view: {group, left: numbers of those that are unticked, told:
 * node that says how many}. host: {changed(): called where the group has other photos by now,
 * failed(problem)}.
 */
export function groupPhotos(view, host) {
  const list = el("ul", { class: "group-photos" });
  const more = el("div", { class: "buttons" });
  put(list, ...view.group.photos.map((photo) => groupPhoto(view, photo)));
  offerAll(view, list, more, host);
  return el("div", { class: "group-shown" }, list, more);
}

function groupPhoto(view, photo) {
  const image = el("img", { alt: photo.name, loading: "lazy", decoding: "async" });
  const larger = (shown) => {
    const path = withQuery(photo.thumbnail, { side: ENLARGED });
    return showImage(shown, path, photo.thumbnail);
  };
  const open = button(image, () => openLarge(photo.name, larger, null), {
    class: "open-photo",
    "aria-label": t("landmark.enlarge", { name: photo.name }),
  });
  const belongs = el("input", {
    type: "checkbox",
    checked: true,
    "aria-label": t("groups.belongs", { name: photo.name }),
    on: {
      change: () => {
        if (belongs.checked) view.left.delete(photo.number);
        else view.left.add(photo.number);
        const n = view.left.size;
        view.told.textContent = n ? t("groups.left_out", { n }) : "";
      },
    },
  });
  belongs.checked = !view.left.has(photo.number);
  showImage(image, photo.thumbnail);
  const choice = view.group.state === "open" ? el("label", {}, belongs) : null;
  return el("li", { "data-photo": photo.number }, el("div", { class: "pick" }, open, choice));
}

/** Offer the photos of a large group that are not shown yet. */
function offerAll(view, list, more, host) {
  const { group } = view;
  const hidden = group.total - group.photos.length;
  const all = async () => {
    try {
      const whole = await withKey(() => fetchJson(groupPath(group)));
      if (whole.version !== group.version) return host.changed();
      const first = list.children.length;
      group.photos = whole.photos;
      list.append(...whole.photos.slice(first).map((photo) => groupPhoto(view, photo)));
      offerAll(view, list, more, host);
      list.children[first]?.querySelector("button").focus();
    } catch (error) {
      host.failed(error);
    }
  };
  put(more, hidden > 0 ? button(t("groups.show_all", { n: group.total }), all) : null);
}
