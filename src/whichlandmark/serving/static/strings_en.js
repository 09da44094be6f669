// Every word of the page in English. Other languages have the same keys: strings_fr.js.
// {name} is replaced by a value; a text with forms {one, other} is chosen by the number n.

export const english = {
  // common: used by several views
  "common.close": "Close",
  "common.cancel": "Cancel",
  "common.try_again": "Try again",
  "common.photos": { one: "{n} photo", other: "{n} photos" },

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
