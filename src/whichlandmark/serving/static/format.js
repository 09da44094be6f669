// Format numbers, sizes, positions, credits and titles for display.

import { wantedLanguages } from "./text.js";

const NUMBER = new Intl.NumberFormat("en");

export const counted = (n, one, many = `${one}s`) => `${NUMBER.format(n)} ${n === 1 ? one : many}`;

/** A probability as a percentage, never 0 % or 100 %. */
export function percent(p) {
  if (p > 0.99) return "over 99 %";
  if (p < 0.01) return "under 1 %";
  return `${Math.round(100 * p)} %`;
}

export function bytes(n) {
  return n < 1e6 ? `${Math.max(1, Math.round(n / 1e3))} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

export const seconds = (ms) =>
  ms < 950 ? `${Math.max(0.1, ms / 1000).toFixed(1)} s` : `${(ms / 1000).toFixed(1)} s`;

export function position(latitude, longitude) {
  const ns = `${Math.abs(latitude).toFixed(4)}° ${latitude < 0 ? "S" : "N"}`;
  return `${ns}, ${Math.abs(longitude).toFixed(4)}° ${longitude < 0 ? "W" : "E"}`;
}

export const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** Author and licence of a photo, or a note that they are not recorded. */
export function credit({ author, licence }) {
  if (!author && !licence) return "No credit recorded";
  return `${author || "Author not recorded"} · ${licence || "licence not recorded"}`;
}

/** A label in readable form. */
export const replaced = (label) => label.replaceAll("_", " ");

/** The name of a landmark in the reader's first language, else its title, else its label. */
export function titled(item) {
  const [tag] = wantedLanguages();
  const { names = {}, title, landmark } = item;
  return names?.[tag] || names?.[tag.split("-")[0]] || title || sentence(replaced(landmark));
}
