// The map of the candidates: Leaflet with a bundled world outline or configured tiles.

import { address } from "./api.js";
import { prefersReducedMotion, el, put } from "./dom.js";
import { titled } from "./format.js";
import { t } from "./text.js";

const OUTLINE_ZOOM = 6; // maximum, because the outline is accurate to a tenth of a degree

let leaflet;
let outline;

/** A map of the candidates with coordinates, drawn when scrolled into view; null without any. */
export function mapOf(candidates, tiles, link = null) {
  const places = candidates.filter(
    ({ latitude, longitude }) => latitude != null && longitude != null,
  );
  if (!places.length) return null;
  const [first, second] = places.map(titled);
  const names = second ? t("answer.map_and", { first, second }) : first;
  const host = el("div", {
    class: "map",
    role: "region",
    "aria-label": t("answer.map", { names }),
  });
  const watch = new IntersectionObserver(
    ([entry]) => {
      if (!entry.isIntersecting) return;
      watch.disconnect();
      draw(host, places, tiles).catch(() =>
        put(host, el("p", { class: "small" }, t("answer.map_failed"))),
      );
    },
    { rootMargin: "200px" },
  );
  watch.observe(host);
  return el(
    "section",
    { class: "where" },
    el("h4", {}, t("answer.where")),
    link && el("p", { class: "places" }, link),
    host,
  );
}

function load() {
  leaflet ??= new Promise((resolve, reject) => {
    document.head.append(
      el("link", { rel: "stylesheet", href: address("static/vendor/leaflet/leaflet.css") }),
    );
    const script = el("script", {
      src: address("static/vendor/leaflet/leaflet.js"),
      on: { load: () => resolve(window.L), error: reject },
    });
    document.head.append(script);
  });
  return leaflet;
}

async function draw(host, places, tiles) {
  const L = await load();
  const still = prefersReducedMotion();
  const map = L.map(host, {
    zoomAnimation: !still,
    fadeAnimation: !still,
    markerZoomAnimation: !still,
    inertia: !still,
    zoomControl: false,
    scrollWheelZoom: false,
    dragging: !L.Browser.mobile, // because a swipe on a phone scrolls the page
    minZoom: 1,
    maxZoom: tiles ? 18 : OUTLINE_ZOOM,
    attributionControl: Boolean(tiles),
    worldCopyJump: true,
  });
  L.control.zoom({ position: "bottomright" }).addTo(map);
  map
    .on("focus", () => map.scrollWheelZoom.enable())
    .on("blur", () => map.scrollWheelZoom.disable());
  const points = places.map(({ latitude, longitude }) => [latitude, longitude]);
  if (points.length === 1) map.setView(points[0], tiles ? 14 : 4);
  else
    map.fitBounds(points, {
      paddingTopLeft: [60, 50],
      paddingBottomRight: [60, 30],
      maxZoom: tiles ? 14 : 5,
      animate: false,
    });
  if (tiles) tiled(L, map, tiles);
  else
    L.polygon(worlds(await land()), {
      className: "land",
      interactive: false,
      smoothFactor: 0.5,
    }).addTo(map);
  places.forEach((place, i) =>
    pin(L, map, place, points[i], places.length > 1 ? String(i + 1) : ""),
  );
}

function pin(L, map, place, point, number) {
  const icon = L.divIcon({ className: "pin", html: el("span", {}, number), iconSize: [44, 44] });
  const marker = L.marker(point, { icon, title: titled(place), alt: titled(place) }).addTo(map);
  marker.bindTooltip(el("span", {}, titled(place)), {
    permanent: true,
    direction: "top",
    offset: [0, -12],
  });
}

function tiled(L, map, { url, attribution }) {
  L.tileLayer(url, { maxZoom: 18, attribution: "" }).addTo(map);
  map.attributionControl.setPrefix(false);
  map.attributionControl.getContainer().append(...credited(attribution ?? ""));
}

const TAG = /<!--[^]*?-->|<[/!?a-z](?:"[^"]*"|'[^']*'|[^"'>])*>/gi;
const ATTRIBUTE = /([^\s"'<>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?/g;

/**
 * The text and the http(s) links of an attribution; every other tag is dropped.
 *
 * No tag reaches the browser's HTML parser, because browsers act on some markup (inline event
 * handlers, for one) even in a document that is never shown.
 */
export function credited(markup) {
  const nodes = [];
  let [href, text, end] = [null, "", 0];
  const flush = () => {
    const words = plainText(text);
    if (words && href)
      nodes.push(el("a", { href, target: "_blank", rel: "noopener noreferrer" }, words));
    else if (words) nodes.push(document.createTextNode(words));
    text = "";
  };
  for (const { 0: tag, index } of markup.matchAll(TAG)) {
    text += markup.slice(end, index);
    end = index + tag.length;
    if (!/^<\/?a[\s/>]/i.test(tag)) continue;
    flush();
    href = webAddress(tag);
  }
  text += markup.slice(end);
  flush();
  return nodes;
}

/** The address of an opening <a>, where it is an absolute http(s) one; else null. */
function webAddress(tag) {
  const attributes = [...tag.matchAll(ATTRIBUTE)];
  const found = attributes.find(([, name]) => name.toLowerCase() === "href") ?? [];
  const value = found.slice(2).find((one) => one !== undefined);
  if (tag[1] === "/" || value === undefined) return null;
  try {
    const { protocol, href } = new URL(plainText(value).trim());
    return /^https?:$/.test(protocol) ? href : null;
  } catch {
    return null;
  }
}

/** Text with its character references (such as &copy;) resolved; it holds no tag. */
function plainText(text) {
  const inert = `<body>${text.replaceAll("<", "&lt;")}`;
  return new DOMParser().parseFromString(inert, "text/html").body.textContent;
}

/** The world's land three times side by side, so that a view across ±180° is whole. */
const worlds = (rings) =>
  [-360, 0, 360].flatMap((turn) => rings.map((ring) => [ring.map(([y, x]) => [y, x + turn])]));

/** The land as rings of [latitude, longitude], from steps of a twentieth of a degree. */
async function land() {
  outline ??= fetch(address("static/world.json")).then((reply) => reply.json());
  const { per_degree: scale, rings } = await outline;
  return rings.map((steps) => {
    let [x, y] = [0, 0];
    const ring = [];
    for (let i = 0; i < steps.length; i += 2) {
      x += steps[i];
      y += steps[i + 1];
      ring.push([Math.max(-85, y / scale), x / scale]);
    }
    return ring;
  });
}
