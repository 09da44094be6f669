// Languages by their names in the page's language, for the names of landmarks.

import { el } from "./dom.js";
import { sentence } from "./format.js";
import { pageLanguage } from "./text.js";

const COMMON = [
  ..."ar bg bn ca cs da de el en es et eu fa fi fr ga gl he hi hr hu hy id".split(" "),
  ..."is it ja ka ko lt lv mk ms nl no pl pt ro ru sk sl sq sr sv ta te th tr uk ur vi zh".split(
    " ",
  ),
];

/** The name of a language in the page's language, or its tag. */
export function languageName(tag) {
  try {
    return sentence(new Intl.DisplayNames(pageLanguage(), { type: "language" }).of(tag));
  } catch {
    return tag;
  }
}

/** The tag of a language that is given by its name or tag; "" = not known. */
export function languageTag(text) {
  const wanted = text.trim().toLowerCase();
  const named = COMMON.find((tag) =>
    [languageName(tag), ownName(tag)].some((name) => name.toLowerCase() === wanted),
  );
  if (named) return named;
  const tag = wanted.match(/\(([\w-]+)\)$/)?.[1] ?? wanted;
  if (!/^[a-z]{2,3}(-[a-z0-9]{2,8})*$/.test(tag)) return "";
  return tag;
}

const ownName = (tag) => new Intl.DisplayNames(tag, { type: "language" }).of(tag) ?? tag;

/** A field for a language, with suggestions. tag: the language that it shows; "" = none. */
export function languageField(id, tag, label) {
  const known = el("datalist", { id: `${id}-known` });
  for (const one of COMMON) known.append(el("option", { value: languageName(one) }));
  const field = el("input", {
    id,
    list: known.id,
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": label,
  });
  field.value = tag ? shownTag(tag) : "";
  return [field, known];
}

/** The name of a language where it leads back to the same tag, else the tag itself. */
const shownTag = (tag) => (languageTag(languageName(tag)) === tag ? languageName(tag) : tag);
