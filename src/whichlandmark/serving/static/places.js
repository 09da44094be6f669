// A place as people write it: "48.8584, 2.2945", with N/S/E/W, or the address of a map.

/** The place of a record as a text; "" = none. */
export const placeText = ({ latitude, longitude }) =>
  latitude == null || longitude == null ? "" : `${latitude}, ${longitude}`;

const NUMBER = String.raw`([-+−]?\d{1,3}(?:[.,]\d+)?)`;
const PAIR = new RegExp(
  String.raw`^\s*${NUMBER}\s*°?\s*([NS])?\s*[,;\s]\s*${NUMBER}\s*°?\s*([EWO])?\s*$`,
  "i",
);

/** {latitude, longitude} of a text, both null for an empty one; null = not a place. */
export function placeValues(text) {
  if (!text.trim()) return { latitude: null, longitude: null };
  const found = inAddress(text) ?? text.match(PAIR)?.slice(1);
  if (!found) return null;
  const [north, ns, east, ew] = found;
  const number = (part) => Number(part.replace("−", "-").replace(",", "."));
  const latitude = number(north) * (/s/i.test(ns ?? "") ? -1 : 1);
  const longitude = number(east) * (/[wo]/i.test(ew ?? "") ? -1 : 1);
  const fits = Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180;
  return fits ? { latitude, longitude } : null;
}

/** The numbers in the address of a map, in the form of PAIR; null = no such address. */
function inAddress(text) {
  if (!/^\s*(https?:|geo:)/.test(text)) return null;
  const forms = [
    /mlat=(-?[\d.]+)&mlon=(-?[\d.]+)/,
    /#map=[\d.]+\/(-?[\d.]+)\/(-?[\d.]+)/,
    /@(-?\d+\.\d+),(-?\d+\.\d+)/,
    /[=:](-?\d+\.\d+),(-?\d+\.\d+)/,
  ];
  for (const form of forms) {
    const found = text.match(form);
    if (found) return [found[1], "", found[2], ""];
  }
  return null;
}
