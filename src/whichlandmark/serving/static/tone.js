// How sure an answer is, as a tone and in words: sure, likely, maybe or none.

import { numberText, t } from "./text.js";
import { percent, sentence, titled } from "./format.js";

const SURE = 0.8; // least confidence of a named landmark that is shown as sure

/** "sure" and "likely" name a landmark; "maybe" is unsure of it; "none" knows nothing like it. */
export function toneOf({ decision, confidence }) {
  if (decision === "landmark") return confidence >= SURE ? "sure" : "likely";
  return decision === "uncertain" ? "maybe" : "none";
}

/** The likeliest candidate of an answer; undefined where the gallery has nothing like the photo. */
export const guessOf = ({ candidates, guess }) =>
  candidates.find((one) => one.landmark === guess) ?? candidates[0];

/** The answer in a few words, such as "Probably Eiffel Tower". short: for a row of a list. */
export function headline(answer, short = false) {
  const tone = toneOf(answer);
  const guess = guessOf(answer);
  if (tone === "none" || !guess) return t("answer.none");
  const key = tone === "maybe" && short ? "answer.maybe_short" : `answer.${tone}`;
  return sentence(t(key, { name: titled(guess) })); // names in French may begin small
}

/** The confidence of a named or likeliest landmark: "92 % sure". */
export const sureness = ({ confidence }) =>
  t("answer.percent_sure", { share: percent(confidence) });

/** The score, which ranks answers; "" where there is none. */
export const scoreText = ({ score }) =>
  score == null
    ? ""
    : t("answer.score", { score: numberText(score, { maximumFractionDigits: 2 }) });

/** What the confidence means. */
export function surenessMeaning(answer) {
  const n = Math.min(99, Math.max(1, Math.round(100 * answer.confidence)));
  return [t("answer.meaning", { n }), scoreText(answer)].filter(Boolean).join(" ");
}

/** Candidates with the share of each, and what is left for none of them. */
export function odds(answer) {
  const guess = guessOf(answer);
  const shareOf = (one) => one.confidence ?? (one === guess ? answer.confidence : null);
  const shares = answer.candidates.map((one) => ({ one, share: shareOf(one) }));
  const known = shares.filter(({ share }) => share != null);
  const rest = Math.max(0, 1 - known.reduce((sum, { share }) => sum + share, 0));
  return { shares, rest };
}

// The server's warnings about a photo → keys of their texts; others are shown as they come.
const WARNINGS = [
  [/^the photo is very small/, "answer.warn_small"],
  [/^no landmark, because its short side/, "answer.warn_tiny"],
  [/^no landmark, because it shows one even color/, "answer.warn_even"],
  [/^no landmark, because it shows even areas/, "answer.warn_stripes"],
  [/^the gallery has no distractors/, "answer.warn_untaught"],
  [/is the only landmark of the gallery/, "answer.warn_only_one"],
  [/^the gallery has no photo of a landmark/, "answer.warn_empty"],
  [/^nothing tells how similar two photos/, "answer.warn_few"],
];

/** A warning of an answer in people's words, where the page knows it. */
export function warningText(warning) {
  const [, name] = WARNINGS.find(([pattern]) => pattern.test(warning)) ?? [];
  return name ? t(name) : sentence(warning);
}
