// Save answers as files: a table with the columns of the command's, or the answers as JSON.

import { el } from "./dom.js";

const COLUMNS = [
  "path",
  "landmark",
  "title",
  "decision",
  "confidence",
  "score",
  "guess",
  "second",
  "nearest",
  "similarity",
  "error",
];
const FORMULA = /^[=+\-@\t\r\n]/; // a spreadsheet would run such a text

/** Save the finished ones of entries {name, answer, problem} as "csv" or "json". */
export function saveAnswers(entries, kind) {
  const finished = entries.filter(({ answer, problem }) => answer || problem);
  const [text, type] =
    kind === "csv"
      ? [csvOf(finished), "text/csv;charset=utf-8"]
      : [jsonOf(finished), "application/json"];
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: `answers.${kind}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function jsonOf(entries) {
  const objects = entries.map(({ name, answer, problem }) =>
    answer
      ? { ...answer, photo: name }
      : {
          photo: name,
          error: { code: problem.code, message: problem.message, hint: problem.hint },
        },
  );
  return `${JSON.stringify(objects, null, 2)}\n`;
}

/** The table of entries, with the mark by which spreadsheets know its encoding. */
export function csvOf(entries) {
  const lines = [COLUMNS, ...entries.map(csvCells)].map((cells) => cells.map(quoted).join(","));
  return `\ufeff${lines.join("\r\n")}\r\n`;
}

function csvCells({ name, answer, problem }) {
  if (!answer) return [safe(name), "", "", "failed", "", "", "", "", "", "", safe(problem.message)];
  const { landmark, decision, guess, second, candidates, matches } = answer;
  const title = candidates.find((one) => one.landmark === landmark)?.title;
  const [nearest] = matches;
  return [
    safe(name),
    safe(landmark ?? ""),
    safe(title || (landmark ?? "").replaceAll("_", " ")),
    decision,
    guess == null ? "" : significant(answer.confidence),
    guess == null || answer.score == null ? "" : significant(answer.score),
    safe(guess ?? ""),
    safe(second ?? ""),
    safe(nearest?.id ?? ""),
    nearest ? nearest.similarity.toFixed(4) : "",
    "",
  ];
}

const safe = (text) => (FORMULA.test(text) ? `'${text}` : text);
const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

/** A number with six significant digits, written as the command writes it. */
export function significant(x) {
  if (x === 0) return "0";
  const [digits, power] = x.toExponential(5).split("e").map(Number);
  if (power >= -4 && power < 6) return String(Number(x.toPrecision(6)));
  return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}
