// The page's words in the reader's language: t("key", {values}), and the texts of the HTML.

import { english } from "./strings_en.js";

const LANGUAGES = ["en", "fr"]; // those with a file strings_XX.js

let strings = english;
let plural = new Intl.PluralRules("en");
let numbers = new Intl.NumberFormat("en");

/** The languages that the reader wants, as BCP 47 tags, the most wanted first. */
export const wantedLanguages = () => (navigator.languages?.length ? navigator.languages : ["en"]);

/** The language of the page's words, such as "fr". */
export const pageLanguage = () => document.documentElement.lang;

/** Take the first language that the reader wants and the page has, and fill the HTML with it. */
export async function chooseLanguage() {
  const bases = wantedLanguages().map((tag) => tag.split("-")[0].toLowerCase());
  const chosen = bases.find((base) => LANGUAGES.includes(base)) ?? "en";
  if (chosen === "fr") {
    const { french } = await import("./strings_fr.js").catch(() => ({ french: null }));
    strings = french ?? english;
  }
  const used = strings === english ? "en" : chosen;
  document.documentElement.lang = used;
  plural = new Intl.PluralRules(used);
  numbers = new Intl.NumberFormat(used);
  fillTexts(document);
}

/** A number as the reader's language writes it. */
export const numberText = (n, options) =>
  options ? new Intl.NumberFormat(pageLanguage(), options).format(n) : numbers.format(n);

/**
 * The text of a key. {name} in it is replaced by the value of that name, numbers as the language
 * writes them; a text with the forms {one, other} is chosen by the value n.
 */
export function t(key, values = {}) {
  let text = strings[key] ?? english[key];
  if (text === undefined) throw new Error(`no text for ${key}`);
  if (typeof text !== "string") text = text[plural.select(values.n)] ?? text.other;
  if (strings !== english) text = text.replace(/ ([»:;?!])|(«) /g, "$2\u00a0$1"); // not broken
  return text.replace(/\{(\w+)\}/g, (_, name) =>
    typeof values[name] === "number" ? numberText(values[name]) : values[name],
  );
}

/** Whether there is a text of this key. */
export const hasText = (key) => key in english;

/** Fill elements with the texts that their attributes data-text, -label and -placeholder name. */
export function fillTexts(root) {
  for (const node of root.querySelectorAll("[data-text]"))
    node.textContent = t(node.dataset.text);
  for (const node of root.querySelectorAll("[data-label]"))
    node.setAttribute("aria-label", t(node.dataset.label));
  for (const node of root.querySelectorAll("[data-placeholder]"))
    node.setAttribute("placeholder", t(node.dataset.placeholder));
}
