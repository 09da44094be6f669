// The credit shown under a photo: author, licence and source, with links to the latter two.

import { el, outLink } from "./dom.js";
import { isWebAddress } from "./form_faults.js";
import { t } from "./text.js";

/** "Photo: AUTHOR, LICENCE · Source", or a note that nothing is recorded. */
export function creditLine({ author, licence, licence_url: terms, source }) {
  const linked = isWebAddress(terms ?? "");
  const words = licence || t(linked ? "common.licence" : "common.no_licence");
  const rel = "license noopener noreferrer";
  const name = linked ? el("a", { href: terms, target: "_blank", rel }, words) : words;
  const known = author || licence || linked;
  return el(
    "span",
    { class: "credit" },
    known
      ? [t("common.photo_by"), " ", el("bdi", {}, author || t("common.no_author")), ", ", name]
      : t("common.no_credit"),
    isWebAddress(source ?? "") ? [" · ", outLink(source, t("common.source"))] : null,
  );
}
