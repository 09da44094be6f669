// Every word of the page in French. The keys are those of strings_en.js.
// {name} is replaced by a value; a text with forms {one, other} is chosen by the number n.

export const french = {
  // common: used by several views
  "common.close": "Fermer",
  "common.cancel": "Annuler",
  "common.try_again": "Réessayer",
  "common.photos": { one: "{n} photo", other: "{n} photos" },
  "common.over": "plus de {share}",
  "common.under": "moins de {share}",
  "common.kilobytes": "{n} ko",
  "common.megabytes": "{size} Mo",
  "common.north": "N",
  "common.south": "S",
  "common.east": "E",
  "common.west": "O",
  "common.no_credit": "Aucun crédit enregistré",
  "common.no_author": "Auteur non enregistré",
  "common.no_licence": "licence non enregistrée",

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
