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
  "why.title.landmark": "Pourquoi {name} ?",
  "why.title.uncertain": "Pourquoi peut-être {name} ?",
  "why.title.no_landmark": "Pourquoi aucun monument ?",
  "why.wait": "Comparaison de votre photo avec la galerie…",
  "why.wait_seconds": { one: "Réessayez dans {n} seconde.", other: "Réessayez dans {n} secondes." },
  "why.changed":
    "La photo vient d’être examinée à nouveau, car la galerie a changé ou il ne reste qu’une copie plus petite de la photo. Le résultat peut différer un peu de la réponse donnée.",
  "why.photos": { one: "cette photo", other: "ces {n} photos" },
  "why.looks.sure": "Votre photo ressemble à {photos} ({name}){contrast}.",
  "why.looks.probably": "Votre photo montre probablement {name} : elle ressemble assez à {photos}{contrast}.",
  "why.looks.perhaps": "Votre photo montre peut-être {name} : elle ressemble assez à {photos}{contrast}.",
  "why.even.sure": "Votre photo ressemble à {name}, mais tout autant à {other}.",
  "why.even.probably": "Votre photo montre probablement {name}, mais elle ressemble tout autant à {other}.",
  "why.even.perhaps": "Votre photo montre peut-être {name}, mais elle ressemble tout autant à {other}.",
  "why.contrast.far": ", et beaucoup moins à tout autre monument",
  "why.contrast.less": ", et moins à tout autre monument",
  "why.contrast.close": ", mais presque autant à {other}",
  "why.contrast.behind": ", mais tout autant à {other}",
  "why.another": "un autre monument",
  "why.maybe.one": "Votre photo ressemble un peu à {name}, pas assez pour en être sûr.",
  "why.maybe.two": "Votre photo ressemble un peu à {name} et à {other}, pas assez pour être sûr de l’un ou de l’autre.",
  "why.none": "Rien dans la galerie ne ressemble assez à votre photo.",
  "why.agree": { one: "{n} détail concorde", other: "{n} détails concordent" },
  "why.details.many": "{agree}.",
  "why.details.both": "{agree} avec {name}, et {others} avec un autre monument.",
  "why.details.few": "Seuls {agree}, autant que par hasard.",
  "why.details.few_whole": "Seuls {agree}, autant que par hasard : seul l’aspect général compte donc.",
  "why.details.none": "Aucun détail ne concorde.",
  "why.details.none_whole": "Aucun détail ne concorde : seul l’aspect général compte donc.",
  "why.details.uncompared": "Les détails n’ont pas été comparés.",
  "why.closest.many": "Le plus proche est {name} : {agree}, trop peu pour être sûr.",
  "why.closest.few": "Le plus proche est {name}, mais seuls {agree}, autant que par hasard.",
  "why.closest.none": "Le plus proche est {name}, mais aucun détail ne concorde.",
  "why.closest.uncompared": "Le plus proche est {name}.",
  "why.empty": "La galerie n’a aucune photo à laquelle comparer la vôtre.",
  "why.nothing.small": "Votre photo est trop petite pour être comparée.",
  "why.nothing.even": "Votre photo montre une seule couleur unie : il n’y a rien à comparer.",
  "why.nothing.plain": "Votre photo montre des surfaces unies ou des rayures, sans un seul détail à comparer.",
  "why.confidence": "Confiance",
  "why.confidence_of": "{share} que ce soit {name}",
  "why.score": "Score",
  "why.compared": "Photos auxquelles elle a été comparée",
  "why.choose": "{name}, photo {n} sur {of} : {details}",
  "why.chip.many": { one: "{n} détail", other: "{n} détails" },
  "why.chip.alike": "semblable",
  "why.chip.less": "moins semblable",
  "why.your_photo": "Votre photo",
  "why.gallery_photo": "Photo de la galerie : {name}",
  "why.no_preview": "pas d’aperçu dans ce navigateur",
  "why.open_yours": "Votre photo : ouvrir en grand",
  "why.open_gallery": "Photo de la galerie, {name} : ouvrir en grand",
  "why.pair.many": {
    one: "{n} détail concorde entre les deux photos.",
    other: "{n} détails concordent entre les deux photos.",
  },
  "why.pair.drawn": "{agree} entre les deux photos ; des lignes relient les {n} plus nets.",
  "why.pair.few": "Seuls {agree}, autant que par hasard : aucune ligne n’est donc tracée.",
  "why.pair.none": "Aucun détail ne concorde entre ces photos.",
  "why.pair.uncompared": "Les détails de ces photos n’ont pas été comparés.",
  "why.lines": "Lignes entre les détails qui concordent",
  "why.source": "Source",
  "why.large": "Grande vue",
  "why.zoom_in": "Agrandir",
  "why.zoom_out": "Réduire",
  "why.zoom_fit": "Ajuster",
  "why.numbers": "Chiffres",
  "why.numbers.lead":
    "Le score est la somme de ce que chaque mesure ajoute. La confiance est le score exprimé en probabilité.",
  "why.table": "Comment le score est calculé",
  "why.evidence": "Mesure",
  "why.measured": "Valeur",
  "why.adds": "Ajoute au score",
  "why.unused": "non utilisé",
  "why.part.similarity": "Similarité",
  "why.part.similarity.text": "À quel point votre photo et la photo la plus proche de ce monument se ressemblent dans l’ensemble ; 1 : identiques.",
  "why.part.lead": "Avance sur les autres monuments",
  "why.part.lead.text": "Similarité moins celle de la photo la plus proche de tout autre monument.",
  "why.part.company": "Trois photos les plus proches",
  "why.part.company.text": "Similarité moyenne avec les trois photos les plus proches de ce monument.",
  "why.part.centre": "Moyenne de ses photos",
  "why.part.centre.text": "Similarité avec la moyenne de toutes les photos de ce monument.",
  "why.part.votes": "Cinq photos les plus proches",
  "why.part.votes.text": "À quel point les cinq photos les plus proches de la galerie montrent ce monument.",
  "why.part.unwhitened": "Similarité avant blanchiment",
  "why.part.unwhitened.text": "La similarité sans la correction de ce que toutes les photos ont en commun.",
  "why.part.bank": "Similarité avec les distracteurs",
  "why.part.bank.text": "Les distracteurs sont des photos sans monument : plus votre photo leur ressemble, plus le score baisse.",
  "why.part.photo_bank": "Similarité de sa photo avec les distracteurs",
  "why.part.photo_bank.text": "La même chose pour la photo la plus proche de ce monument.",
  "why.part.photos": "Nombre de photos",
  "why.part.photos.text": "Photos de ce monument dans la galerie.",
  "why.part.place": "Ressemble à un lieu",
  "why.part.place.text": "Négatif si votre photo montre moins nettement un bâtiment ou un autre lieu que la photo la plus proche.",
  "why.part.inliers": "Inliers",
  "why.part.inliers.text": "Détails qui concordent avec une photo de ce monument, au-delà des {chance} qui concordent par hasard.",
  "why.part.inlier_lead": "Avance en inliers",
  "why.part.inlier_lead.text": "Combien d’inliers de plus qu’avec tout autre monument.",
  "why.part.inlier_company": "Inliers de toutes ses photos",
  "why.part.inlier_company.text": "Inliers avec toutes les photos comparées de ce monument, au-delà du hasard.",
  "why.part.usual": "Valeur de départ",
  "why.part.usual.text": "Ce qu’obtiendrait un monument aux mesures moyennes.",
  "why.part.location": "Position",
  "why.part.location.text": "Distance entre le lieu de la prise de vue et ce monument.",
  "why.part.score": "Score",
  "why.part.score.text": "Plus il est élevé, plus c’est sûr. À 0, la réponse est aussi probablement juste que fausse, avant calibration.",
  "why.part.confidence": "Confiance",
  "why.part.confidence.text": "La part de réponses justes parmi celles qui ont un tel score.",
  "why.distractors": "Distracteurs les plus proches",
  "why.distractors.text": "Photos de la galerie sans monument. Plus votre photo leur ressemble, plus son score baisse.",
  "why.distractor": "Une photo sans monument",
  "why.similarity": "similarité {value}",

  // gallery: the list of landmarks

  // landmark: one landmark and its photos

  // edit: changes of the gallery

  // review: feedback to look at

  // key: the key of the server

  // error: what went wrong
};
