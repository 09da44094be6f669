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
  "why.title.landmark": "Why {name}?",
  "why.title.uncertain": "Why maybe {name}?",
  "why.title.no_landmark": "Why no landmark?",
  "why.wait": "Comparing your photo with the gallery…",
  "why.wait_seconds": { one: "Try again in {n} second.", other: "Try again in {n} seconds." },
  "why.changed":
    "This is a new look at the photo, because the gallery has changed or only a smaller copy of the photo is left. It may differ a little from the answer above.",
  "why.photos": { one: "this photo", other: "these {n} photos" },
  "why.looks.sure": "Your photo looks like {photos} of {name}{contrast}.",
  "why.looks.probably": "Your photo probably shows {name}: it looks rather like {photos} of it{contrast}.",
  "why.looks.perhaps": "Your photo perhaps shows {name}: it looks rather like {photos} of it{contrast}.",
  "why.even.sure": "Your photo looks like {name}, but as much like {other}.",
  "why.even.probably": "Your photo probably shows {name}, but it looks as much like {other}.",
  "why.even.perhaps": "Your photo perhaps shows {name}, but it looks as much like {other}.",
  "why.contrast.far": ", and far less like any other landmark",
  "why.contrast.less": ", and less like any other landmark",
  "why.contrast.close": ", but nearly as much like {other}",
  "why.contrast.behind": ", but as much like {other}",
  "why.another": "another landmark",
  "why.maybe.one": "Your photo looks a little like {name}, not enough to be sure of it.",
  "why.maybe.two": "Your photo looks a little like {name} and {other}, not enough to be sure of either.",
  "why.none": "Nothing in the gallery looks enough like your photo.",
  "why.agree": { one: "{n} detail agrees", other: "{n} details agree" },
  "why.details.many": "{agree}.",
  "why.details.both": "{agree} with {name}, and {others} with another landmark.",
  "why.details.few": "Only {agree}, as many as by chance.",
  "why.details.few_whole": "Only {agree}, as many as by chance, so only the look of the whole counts.",
  "why.details.none": "No details agree.",
  "why.details.none_whole": "No details agree, so only the look of the whole counts.",
  "why.details.uncompared": "Details were not compared.",
  "why.closest.many": "The closest is {name}: {agree}, too few to be sure.",
  "why.closest.few": "The closest is {name}, but only {agree}, as many as by chance.",
  "why.closest.none": "The closest is {name}, but no details agree.",
  "why.closest.uncompared": "The closest is {name}.",
  "why.empty": "The gallery has no photo that yours could be compared with.",
  "why.nothing.small": "Your photo is too small to compare.",
  "why.nothing.even": "Your photo shows one even colour, so there is nothing in it to compare.",
  "why.nothing.plain": "Your photo shows plain areas or stripes, without a single detail to compare.",
  "why.confidence": "Confidence",
  "why.confidence_of": "{share} that it is {name}",
  "why.score": "Score",
  "why.compared": "Photos it was compared with",
  "why.choose": "{name}, photo {n} of {of}: {details}",
  "why.chip.many": { one: "{n} detail", other: "{n} details" },
  "why.chip.alike": "looks alike",
  "why.chip.less": "less alike",
  "why.your_photo": "Your photo",
  "why.gallery_photo": "Gallery photo: {name}",
  "why.no_preview": "no preview in this browser",
  "why.open_yours": "Your photo: open large",
  "why.open_gallery": "Gallery photo of {name}: open large",
  "why.pair.many": {
    one: "{n} detail agrees between both photos.",
    other: "{n} details agree between both photos.",
  },
  "why.pair.drawn": "{agree} between both photos; lines join the {n} strongest.",
  "why.pair.few": "Only {agree}, as many as by chance, so no lines are drawn.",
  "why.pair.none": "No details agree between these photos.",
  "why.pair.uncompared": "The details of these photos were not compared.",
  "why.lines": "Lines between details that agree",
  "why.source": "Source",
  "why.large": "Large view",
  "why.zoom_in": "Zoom in",
  "why.zoom_out": "Zoom out",
  "why.zoom_fit": "Fit",
  "why.numbers": "Numbers",
  "why.numbers.lead":
    "The score is the sum of what each measure adds. The confidence is the score as a probability.",
  "why.table": "How the score is computed",
  "why.evidence": "Measure",
  "why.measured": "Measured",
  "why.adds": "Adds to the score",
  "why.unused": "not used",
  "why.part.similarity": "Similarity",
  "why.part.similarity.text": "How alike your photo and its nearest photo of this landmark are as a whole; 1 is the same.",
  "why.part.lead": "Lead over other landmarks",
  "why.part.lead.text": "Similarity less that of the nearest photo of any other landmark.",
  "why.part.company": "Three most similar photos",
  "why.part.company.text": "Mean similarity to the three nearest photos of this landmark.",
  "why.part.centre": "Average of its photos",
  "why.part.centre.text": "Similarity to the average of all photos of this landmark.",
  "why.part.votes": "Five most similar photos",
  "why.part.votes.text": "How strongly the five nearest photos of the gallery show this landmark.",
  "why.part.unwhitened": "Similarity before whitening",
  "why.part.unwhitened.text": "The similarity without the correction for what all photos have in common.",
  "why.part.bank": "Similarity to distractors",
  "why.part.bank.text": "Distractors are photos without a landmark: the more your photo is like them, the lower the score.",
  "why.part.photo_bank": "Its photo's similarity to distractors",
  "why.part.photo_bank.text": "The same for the nearest photo of this landmark.",
  "why.part.photos": "Number of photos",
  "why.part.photos.text": "Photos of this landmark in the gallery.",
  "why.part.place": "Like a place",
  "why.part.place.text": "Below 0 where your photo shows a building or another place less clearly than its nearest photo.",
  "why.part.inliers": "Inliers",
  "why.part.inliers.text": "Details that agree with one photo of this landmark, beyond the {chance} that agree by chance.",
  "why.part.inlier_lead": "Lead in inliers",
  "why.part.inlier_lead.text": "How many more inliers than with any other landmark.",
  "why.part.inlier_company": "Inliers of all its photos",
  "why.part.inlier_company.text": "Inliers with all compared photos of this landmark, beyond chance.",
  "why.part.usual": "Starting value",
  "why.part.usual.text": "What a landmark of average measures would get.",
  "why.part.location": "Location",
  "why.part.location.text": "How far the place where the photo was taken is from this landmark.",
  "why.part.score": "Score",
  "why.part.score.text": "The higher, the surer. At 0 it is as likely right as wrong, before calibration.",
  "why.part.confidence": "Confidence",
  "why.part.confidence.text": "The share of answers with such a score that are right.",
  "why.distractors": "Most similar distractors",
  "why.distractors.text": "Gallery photos without a landmark. The more your photo is like them, the lower its score.",
  "why.distractor": "A photo without a landmark",
  "why.similarity": "similarity {value}",

  // gallery: the list of landmarks

  // landmark: one landmark and its photos

  // edit: changes of the gallery

  // review: feedback to look at

  // key: the key of the server

  // error: what went wrong
};
