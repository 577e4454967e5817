"""Which sentences of a report describe the image.

A sentence is no observation in two cases:

1. All of its words are routine: function words, technique, comparison, recommendation ("PA and
   lateral views of the chest were obtained.").
2. It is a message, a signature, advice or, outside the sections that describe the image, the
   history of the patient, and names no finding ("Dr. X was informed by telephone.").

In doubt a sentence is an observation.
"""

from __future__ import annotations

import re

# Words that describe no image, one group a paragraph: function words, verbs of making an image,
# times and numbers, technique, comparison, recommendation.
_ROUTINE_WORDS = """
    a an the this that these those there it its is are was were be been has have had being
    will would could can may might should of in on at to from by for with without and or as
    if than then when which who also only both each all any some other via per
    not no none nil na do does did i we you your our please thank thanks however

    given available submitted provided performed obtained acquired taken received
    reviewed review made done dated

    date time hours hour hrs am pm today yesterday day days week weeks month months year
    years old after before during since between within prior previous previously earlier
    recent recently most last current currently
    one two three four single multiple total number series repeat additional second first

    pa ap lateral frontal portable upright semi semierect semiupright erect supine bedside
    view views projection projections radiograph radiographs radiography radiographic
    radiology film films x ray rays xray cxr image images imaging exam examination
    examinations study studies chest abdomen thorax technique standard digital
    conventional consists consist consisting kub plain

    comparison comparisons compared compare compares comparing outside ct mri cta scan
    scans report dictated correlation

    recommend recommends recommended recommendation recommendations follow followup up
    further evaluation evaluate evaluated assessment assess characterization characterize
    contrast enhanced noncontrast nonenhanced low dose dedicated short interval term
    clinical clinically indicated needed necessary appropriate warranted correlate
    correlated advised advise suggested suggest consider considered helpful useful ensure
    document documented documentation confirm confirmation resolution clearing therapy
    treatment nonemergent routine concern persists persist symptoms history patient
    possible complete
"""
_ROUTINE = frozenset(_ROUTINE_WORDS.split())
_WORD = re.compile(r"[^\W\d_]+")
_REDACTED = re.compile(r"X{3,}|_{2,}")


def _compile_any(*patterns: str) -> re.Pattern[str]:
    """A pattern that matches where any of ``patterns`` does, in any case."""
    return re.compile("|".join(patterns), re.I)


_FINDING_PATTERNS = (
    # Findings.
    r"pneumothora|effusion|consolidat|opaci|nodul|\bmass|fractur|o?edema|atelecta|infiltrat",
    r"cardiomegal|free air|lesion|collaps|lucenc|densit|shadow|air ?space|ground.glass|granuloma",
    r"calcif|\bscar|emphysem|fibros|interstiti",
    # Devices.
    r"catheter|\btubes?\b|\blines?\b|\bleads?\b|malposition",
    # Anatomy.
    r"heart size|\bcardiac|\blungs?\b|hilar|hilum|mediastin|pleura|silhouette|diaphragm",
    r"\blobes?\b|\bzones?\b|bronch",
)
_FINDING = _compile_any(*_FINDING_PATTERNS)
_FINDING_OR_IMAGE = _compile_any(*_FINDING_PATTERNS, r"x-?ray|radiogra|radiolog|\bcxr\b|\bct\b")
_MESSAGE = _compile_any(
    r"\bnotif(?:ied|ication|y)\b|\b(?:tele)?phoned?\b|\bpaged\b|\bread ?back\b",
    r"\bprimordial\b|\backnowledged receipt\b|\baccepted receipt\b|\bmessage was\b",
    # Telling, and within 80 characters who was told or when.
    r"\b(?:discuss|communicat|convey|relay|call|inform|report|review|email|convers)\w*\b.{0,80}?"
    r"(?:\bdr\b|\bdoctor|\bphysician|\bnurse|\bclinician|\bprovider|\bteam\b"
    r"|\b[ap]\.?m\b|\bhours\b|\bXXXX[.,])",
    r"\bdr\.? .{0,40}\b(?:aware|informed|paged|called)\b",
)
_CLOSING = _compile_any(
    # Signatures.
    r"\belectronic(?:ally)? (?:signed|signature)|\bdictated (?:by|and)|\btranscribed\b",
    r"\bsigned by\b|\binterpreted by\b|\bpersonally reviewed\b|\bcertified radiologist\b",
    r"\bradiologist:|\battending (?:radiologist|physician)\b|\bend of (?:report|impression)\b",
    # Advice.
    r"\bquestions?\b.{0,40}\bcontact\b|\bplease (?:call|contact)\b",
    r"^(?:recommend|correlat|clinical(?:ly)? correlat|please)",
)
_HISTORY = _compile_any(
    # The patient and the stay.
    r"\byears?[- ]old\b|\by/?o\b|\bpresent(?:ed|s|ing) (?:with|to)\b|\bhistory\b|\bdied\b",
    r"\badmi(?:tted|ssion)\b|\bdischarged?\b|\bintensive care\b|\bhospitali[sz]|\btravel",
    # Tests.
    r"\blaborator|\bserolog|\bpcr\b|\bswab|\btemperature\b|\bsaturation|\bspo2\b|\bblood\b",
    r"\bphysical exam|\bcrackle|\bcrepit|\bair entry\b",
    # Complaints and treatment.
    r"\bcomplain|\bfever|\bcough|\bdysp|\bsmok|\bsymptom|\bpyrexi|\bshort(?:ness)? of breath\b",
    r"\bantibiotic|\bintubat|\boxygen\b|\btreatment\b|\bdiagnosed\b",
)


def is_observation(sentence: str, *, may_be_history: bool = False) -> bool:
    """Whether ``sentence`` describes the image (see the rules above).

    ``may_be_history``: the sentence may tell the patient's history, because it stands outside the
    sections that describe the image.
    """
    words = _WORD.findall(_REDACTED.sub(" ", sentence).lower())
    if all(word in _ROUTINE for word in words):
        return False

    if (_MESSAGE.search(sentence) or _CLOSING.search(sentence)) and not _FINDING.search(sentence):
        return False

    is_history = may_be_history and _HISTORY.search(sentence) is not None
    return not is_history or _FINDING_OR_IMAGE.search(sentence) is not None
