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
  "recognize.title": "Quel est ce monument ?",
  "recognize.lead": "Donnez une photo et obtenez le nom du monument ou du lieu qu’elle montre.",
  "recognize.drop": "Déposez des photos ici",
  "recognize.or_paste": "ou collez-en une avec",
  "recognize.choose": "Choisir des photos",
  "recognize.camera": "Prendre une photo",
  "recognize.promise": "Vos photos ne sont pas conservées sur le serveur.",
  "recognize.promise_more":
    "Elles ne vont qu’à ce serveur, qui répond de mémoire et n’en garde aucune copie, sauf si vous ajoutez une photo à la galerie ou permettez de la garder pour vérification. Ce navigateur garde pour vous vos photos et les réponses, afin que vous ne les perdiez pas quand la page est rechargée. « Tout effacer » les supprime ; celles de plus d’un jour sont supprimées à l’ouverture de la page.",
  "recognize.known": "Lieux que ce serveur reconnaît",
  "recognize.answers": "Réponses",
  "recognize.pasted_name": "image",
  "recognize.left_out": { one: "Fichier écarté :", other: "{n} fichiers ont été écartés :" },
  "recognize.others_left_out": { one: "et {n} autre", other: "et {n} autres" },
  "recognize.is_video": "{name} (une vidéo)",
  "recognize.is_pdf": "{name} (un PDF)",
  "recognize.is_empty": "{name} (un fichier vide)",
  "recognize.is_other": "{name} (pas une photo)",
  "recognize.no_video": "C’est une vidéo, pas une photo.",
  "recognize.no_pdf": "C’est un PDF, pas une photo.",
  "recognize.no_empty": "Ce fichier est vide.",
  "recognize.no_other": "Ce fichier n’est pas une photo.",
  "recognize.advice_video": "Arrêtez la vidéo au bon moment et faites-en une capture d’écran.",
  "recognize.advice_pdf": "Faites une capture d’écran de l’image dans le PDF.",
  "recognize.advice_other": "Choisissez une photo, par exemple un fichier JPEG ou PNG.",
  "recognize.too_many": "Seuls les {n} premiers fichiers ont été pris.",
  "recognize.too_large": "Cette photo est trop grande : {size}.",
  "recognize.too_large_hint":
    "On peut envoyer {size} au plus. Enregistrez-la plus petite et réessayez.",
  "recognize.unreadable": "Ce fichier ne peut pas être lu sur votre disque.",
  "recognize.unreadable_hint": "C’est peut-être un dossier, ou il a été déplacé ou supprimé.",
  "recognize.address_given":
    "C’est l’adresse d’une image d’un autre site, que cette page ne va pas chercher, pour votre sécurité. Enregistrez d’abord l’image, puis déposez-la ici.",
  "recognize.path_given":
    "C’est l’emplacement d’un fichier, pas la photo elle-même. Utilisez « Choisir des photos », ou glissez le fichier ici.",
  "recognize.text_given": "C’est du texte, pas une photo. Copiez une image, puis collez-la ici.",
  "recognize.nothing_given":
    "Il n’y a pas d’image à coller. Copiez une image, puis collez-la ici.",

  // answer: the card of a photo
  "answer.card": "Réponse pour {name}",
  "answer.your_photo": "Votre photo {name}",
  "answer.no_preview": "Ce navigateur ne peut pas montrer la photo",
  "answer.sure": "{name}",
  "answer.likely": "Probablement {name}",
  "answer.maybe": "Peut-être {name}, ou quelque chose que je ne connais pas",
  "answer.maybe_short": "Peut-être {name}",
  "answer.none": "Aucun lieu que je connaisse",
  "answer.none_lead": "Rien dans la galerie ne ressemble assez à cette photo.",
  "answer.unknown": "Quelque chose que je ne connais pas",
  "answer.percent_sure": "sûr à {share}",
  "answer.meaning": {
    one: "Sur 100 réponses avec ce nombre, environ {n} est juste.",
    other: "Sur 100 réponses avec ce nombre, environ {n} sont justes.",
  },
  "answer.score": "Score : {score} (il classe les réponses ; plus il est haut, plus c’est sûr).",
  "answer.looks_like": "Elle ressemble à ces photos",
  "answer.others": { one: "{n} autre lieu", other: "{n} autres lieux" },
  "answer.closest": "Ce qui s’en approche le plus",
  "answer.closest_number": "Le plus proche est {name} : {share}.",
  "answer.gallery_photo": "Une photo de la galerie",
  "answer.gallery_photo_of": "{name}, une photo de la galerie",
  "answer.where": "Où c’est",
  "answer.map": "Carte avec {names}",
  "answer.map_and": "{first} et {second}",
  "answer.map_failed": "La carte n’a pas pu être chargée.",
  "answer.waiting": "En attente…",
  "answer.preparing": "Réduction de la photo…",
  "answer.sending": "Envoi… {n} %",
  "answer.looking": "Recherche…",
  "answer.stopped": "Pas demandé",
  "answer.busy": "Beaucoup de monde en ce moment",
  "answer.busy_said":
    "{name} doit attendre : beaucoup de monde en ce moment. Nouvel essai dans {n} secondes.",
  "answer.again_in": {
    one: "Nouvel essai dans {n} seconde.",
    other: "Nouvel essai dans {n} secondes.",
  },
  "answer.try_now": "Essayer maintenant",
  "answer.failed_busy": "Beaucoup de monde en ce moment",
  "answer.failed_key": "Une clé est nécessaire",
  "answer.failed_offline": "Vous êtes hors ligne",
  "answer.failed_unreachable": "Pas de réponse",
  "answer.failed_refused": "Le serveur n’a pas accepté la photo",
  "answer.failed_unfit": "Cette photo ne peut pas servir",
  "answer.fault_unreadable": "Le fichier est abîmé, ou ce n’est pas une photo.",
  "answer.hint_unreadable":
    "Ouvrez-le dans un autre programme, enregistrez-le en JPEG et essayez ce fichier.",
  "answer.hint_unsupported_format": "Enregistrez-la en JPEG ou PNG et essayez ce fichier.",
  "answer.hint_too_large": "Enregistrez-la plus petite, en JPEG, et essayez ce fichier.",
  "answer.fault_timeout": "La lecture de la photo a pris trop de temps.",
  "answer.hint_timeout": "Enregistrez-la plus petite, en JPEG, et essayez ce fichier.",
  "answer.fault_worker_lost": "La photo n’a pas pu être lue jusqu’au bout.",
  "answer.hint_worker_lost":
    "Enregistrez-la en JPEG dans un autre programme et essayez ce fichier.",
  "answer.heic": "C’est une photo HEIC, que ni ce navigateur ni le serveur ne peuvent lire.",
  "answer.heic_hint":
    "Enregistrez-la en JPEG. Sur un iPhone : Réglages, Appareil photo, Formats, « Le plus compatible ».",
  "answer.page_fault": "Quelque chose s’est mal passé avec la photo sur cette page.",
  "answer.lost": "La page a été rechargée avant l’envoi de cette photo.",
  "answer.lost_hint": "Choisissez la photo encore une fois.",
  "answer.warn_small": "La photo est très petite, la réponse est donc moins sûre.",
  "answer.warn_tiny": "La photo est trop petite pour y voir un monument.",
  "answer.warn_even": "La photo montre une seule couleur unie.",
  "answer.warn_stripes":
    "La photo ne montre que des surfaces unies ou des rayures, rien que l’on puisse comparer.",
  "answer.warn_untaught":
    "La galerie n’a pas de photos sans monument, elle sait donc mal quand dire « aucun ».",
  "answer.warn_only_one":
    "La galerie n’a qu’un seul lieu, elle ne peut donc pas distinguer les lieux.",
  "answer.warn_empty": "La galerie n’a encore aucun lieu, rien ne peut donc être nommé.",
  "answer.warn_few":
    "La galerie a trop peu de photos pour savoir à quel point celles d’un même lieu se ressemblent.",

  // next: what to do after an answer
  "next.why": "Pourquoi ?",
  "next.wikipedia": "Wikipédia",
  "next.directions": "Itinéraire",
  "next.more": "Plus",
  "next.more_named": "Plus d’actions pour {name}",
  "next.copy": "Copier le nom et le lieu",
  "next.copied": "Copié.",
  "next.not_copied": "Ce navigateur ne l’a pas copié : {text}",
  "next.share": "Partager",
  "next.link_copied": "Un lien vers ce lieu a été copié.",
  "next.part": "Choisir une partie",
  "next.part_title": "Quelle partie de la photo ?",
  "next.part_words":
    "Tracez un rectangle autour du monument, ou déplacez-le par ses coins.",
  "next.part_keys": "Les flèches le déplacent, avec Maj elles changent sa taille.",
  "next.part_label": "La partie choisie de la photo",
  "next.part_edges": "Régler les bords avec des curseurs",
  "next.part_left": "Bord gauche",
  "next.part_right": "Bord droit",
  "next.part_top": "Bord supérieur",
  "next.part_bottom": "Bord inférieur",
  "next.part_ask": "Demander pour cette partie",
  "next.part_name": "Partie de {name}",
  "next.add": "Ajouter à la galerie",
  "next.add_under": "L’ajouter sous",
  "next.add_photos": { one: "Ajouter la photo", other: "Ajouter {n} photos" },
  "next.add_words":
    "La galerie la garde, et toutes les personnes qui utilisent ce serveur peuvent la voir.",
  "next.save_csv": "Enregistrer en CSV",
  "next.save_json": "Enregistrer en JSON",
  "next.remove": "Retirer",
  "next.remove_named": "Retirer {name}",
  "next.ask_again": "Demander encore",
  "next.right": "Est-ce juste ?",
  "next.which": "Lequel est-ce ?",
  "next.something_else": "Autre chose",
  "next.yes": "Oui",
  "next.yes_right": "Oui, c’est juste",
  "next.no": "Non",
  "next.no_wrong": "Non, c’est faux",
  "next.correct": "Qu’est-ce que c’est ?",
  "next.shows_none": "Elle ne montre aucun monument",
  "next.keep_photo": "Ma photo peut être gardée pour être vérifiée par une personne",
  "next.what_happens":
    "Une personne regarde votre réponse. D’ici là, rien ne change.",
  "next.send": "Envoyer",
  "next.thanks": "Merci. Une personne regardera votre réponse ; votre photo n’a pas été gardée.",
  "next.thanks_photo":
    "Merci. Une personne regardera votre réponse et votre photo, et l’ajoutera peut-être à la galerie.",
  "next.thanks_no_room":
    "Merci. Une personne regardera votre réponse ; il n’y avait plus de place pour garder votre photo.",

  // list: many photos
  "list.photos": "Photos",
  "list.progress": "Photos traitées",
  "list.answered": { one: "{answered} réponse sur {n}", other: "{answered} réponses sur {n}" },
  "list.failed": { one: "{n} échec", other: "{n} échecs" },
  "list.done": {
    one: "{n} photo a sa réponse, {named} avec un lieu",
    other: "{n} photos ont leur réponse, {named} avec un lieu",
  },
  "list.pause": "Pause",
  "list.go_on": "Continuer",
  "list.stop": "Arrêter",
  "list.clear": "Tout effacer",
  "list.undo": "Annuler",
  "list.removed": { one: "{n} photo a été retirée.", other: "{n} photos ont été retirées." },
  "list.put_back": { one: "{n} photo est de retour.", other: "{n} photos sont de retour." },
  "list.filters": "Montrer",
  "list.filter_all": "Toutes {n}",
  "list.filter_sure": "Sûres {n}",
  "list.filter_unsure": "Pas sûres {n}",
  "list.filter_none": "Aucun lieu {n}",
  "list.filter_open": "Sans réponse {n}",
  "list.empty": "Aucune photo de ce genre.",
  "list.group": "Par lieu",
  "list.group_maybe": "Pas sûres",
  "list.group_none": "Aucun lieu que je connaisse",
  "list.group_open": "Sans réponse",
  "list.select_group": "Sélectionner",
  "list.select_group_named": "Sélectionner toutes celles de {name}",
  "list.select_all": "Tout sélectionner",
  "list.select": "Sélectionner {name}",
  "list.selected": { one: "{n} photo sélectionnée", other: "{n} photos sélectionnées" },
  "list.remove": "Retirer",
  "list.save": "Enregistrer",

  // why: the evidence

  // gallery: the list of landmarks

  // landmark: one landmark and its photos

  // edit: changes of the gallery

  // review: feedback to look at

  // key: the key of the server

  // error: what went wrong
};
