// A photo over the whole screen, with zoom by buttons, keys, pinch, wheel or double click.

import { button, el, makeClosable } from "./dom.js";
import { t } from "./text.js";

const ZOOM_STEP = 1.5;
const MAX_ZOOM = 8;

/** Show a photo large. fill: puts the picture into an image element; credits: a node below it. */
export function openLarge(title, fill, credits) {
  const image = el("img", { alt: title });
  const box = el(
    "div",
    { class: "large-box", tabindex: 0, role: "region", "aria-label": title },
    image,
  );
  const zoom = zoomable(box, image);
  const dialog = makeClosable(
    el(
      "dialog",
      { class: "large", "aria-label": `${t("why.large")}: ${title}` },
      el(
        "div",
        { class: "large-head" },
        button("−", () => zoom.by(1 / ZOOM_STEP), { "aria-label": t("why.zoom_out") }),
        button("+", () => zoom.by(ZOOM_STEP), { "aria-label": t("why.zoom_in") }),
        button(t("why.zoom_fit"), () => zoom.fit()),
        el("button", { type: "button", class: "large-close", "data-close": true }, t("common.close")),
      ),
      box,
      el("p", { class: "small" }, title, credits ? " · " : null, credits),
    ),
  );
  const resized = () => zoom.by(1);
  dialog.addEventListener("keydown", (event) => {
    const factor = { "+": ZOOM_STEP, "=": ZOOM_STEP, "-": 1 / ZOOM_STEP }[event.key];
    if (factor) zoom.by(factor);
    else if (event.key === "0") zoom.fit();
  });
  dialog.addEventListener("close", () => {
    removeEventListener("resize", resized);
    dialog.remove();
  });
  addEventListener("resize", resized);
  document.body.append(dialog);
  dialog.showModal();
  box.focus();
  fill(image);
}

/** Let an image in a scrolling box be zoomed: {by(factor), fit()}. */
function zoomable(box, image) {
  let scale = 1;
  const place = (next, x = box.clientWidth / 2, y = box.clientHeight / 2) => {
    const { naturalWidth: width, naturalHeight: height } = image;
    if (!width) return;
    const old = scale;
    scale = Math.min(MAX_ZOOM, Math.max(1, next));
    const whole = Math.min(box.clientWidth / width, box.clientHeight / height);
    // The point under (x, y) stays there.
    const [left, top] = [box.scrollLeft + x, box.scrollTop + y].map((at) => (at * scale) / old);
    image.style.width = `${width * whole * scale}px`;
    image.style.height = `${height * whole * scale}px`;
    box.classList.toggle("zoomed", scale > 1);
    box.scrollTo(left - x, top - y);
  };
  image.addEventListener("load", () => place(1));
  pinch(box, (factor, x, y) => place(scale * factor, x, y));
  box.addEventListener("dblclick", (event) => {
    const { left, top } = box.getBoundingClientRect();
    place(scale > 1 ? 1 : 3, event.clientX - left, event.clientY - top);
  });
  dragLarge(box);
  return { by: (factor) => place(scale * factor), fit: () => place(1) };
}

/** Two fingers, or the wheel with Ctrl, which trackpads send for a pinch. */
function pinch(box, change) {
  let distance = 0;
  const middle = (a, b) => {
    const { left, top } = box.getBoundingClientRect();
    return [(a.clientX + b.clientX) / 2 - left, (a.clientY + b.clientY) / 2 - top];
  };
  const spread = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  box.addEventListener("touchstart", ({ touches }) => {
    distance = touches.length === 2 ? spread(...touches) : 0;
  });
  box.addEventListener(
    "touchmove",
    (event) => {
      if (event.touches.length !== 2 || !distance) return;
      event.preventDefault();
      const now = spread(...event.touches);
      change(now / distance, ...middle(...event.touches));
      distance = now;
    },
    { passive: false },
  );
  box.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      change(Math.exp(-event.deltaY / 200), ...middle(event, event));
    },
    { passive: false },
  );
}

/** Move the zoomed photo with the mouse; fingers scroll it anyway. */
function dragLarge(box) {
  box.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button) return;
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    if (box.hasPointerCapture(event.pointerId)) box.scrollBy(-event.movementX, -event.movementY);
  });
}
