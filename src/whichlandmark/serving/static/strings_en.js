// Every word of the page in English. Other languages have the same keys: strings_fr.js.
// {name} is replaced by a value; a text with forms {one, other} is chosen by the number n.

export const english = {
  // common: used by several views
  "common.close": "Close",
  "common.cancel": "Cancel",
  "common.try_again": "Try again",
  "common.photos": { one: "{n} photo", other: "{n} photos" },
  "common.over": "over {share}",
  "common.under": "under {share}",
  "common.kilobytes": "{n} kB",
  "common.megabytes": "{size} MB",
  "common.north": "N",
  "common.south": "S",
  "common.east": "E",
  "common.west": "W",
  "common.no_credit": "No credit recorded",
  "common.no_author": "Author not recorded",
  "common.no_licence": "licence not recorded",

  // nav: header, banners

  // recognize: the first visit, and choosing photos

  // answer: the card of a photo

  // next: what to do after an answer

  // list: many photos

  // why: the evidence

  // gallery: the list of landmarks

  // landmark: one landmark and its photos

  // edit: changes of the gallery

  // review: feedback to look at

  // key: the key of the server

  // error: what went wrong
};
