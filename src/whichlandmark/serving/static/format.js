// Format numbers, sizes, positions and titles in the reader's language.

import { numberText, t, wantedLanguages } from "./text.js";

export const counted = (n, one, many = `${one}s`) => `${numberText(n)} ${n === 1 ? one : many}`;

/** A probability as a percentage, never 0 % or 100 %. */
export function percent(p) {
  if (p > 0.99) return t("common.over", { share: "99 %" });
  if (p < 0.01) return t("common.under", { share: "1 %" });
  return `${Math.round(100 * p)} %`;
}

const SHORT = { minimumFractionDigits: 1, maximumFractionDigits: 1 };

export function bytes(n) {
  return n < 1e6
    ? t("common.kilobytes", { n: Math.max(1, Math.round(n / 1e3)) })
    : t("common.megabytes", { size: numberText(n / 1e6, SHORT) });
}

export const seconds = (ms) => `${numberText(Math.max(0.1, ms / 1000), SHORT)} s`;

const DEGREES = { minimumFractionDigits: 4, maximumFractionDigits: 4 };

export function position(latitude, longitude) {
  const degrees = (angle) => `${numberText(Math.abs(angle), DEGREES)}°`;
  const ns = `${degrees(latitude)} ${t(latitude < 0 ? "common.south" : "common.north")}`;
  return `${ns}, ${degrees(longitude)} ${t(longitude < 0 ? "common.west" : "common.east")}`;
}

export const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** "Paris, France" of a landmark's record, as far as it says so; "" = it does not. */
export const townWords = ({ city, country }) =>
  [...new Set([city, country].filter(Boolean))].join(", "); // Singapore is in Singapore

/** A label in readable form. */
export const replaced = (label) => label.replaceAll("_", " ");

/** The first language that the reader wants; the server names landmarks in it. */
export const readerLanguage = () => wantedLanguages()[0];

/** The name of a landmark in the reader's language, else its title, else its readable label. */
export function titled({ landmark, title, names = {} }) {
  const wanted = readerLanguage().toLowerCase();
  const found = (tag) => Object.entries(names).find(([key]) => key.toLowerCase() === tag)?.[1];
  const name = found(wanted) || found(wanted.split("-")[0]);
  return name || title || sentence(replaced(landmark));
}
