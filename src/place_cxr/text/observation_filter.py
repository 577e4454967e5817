"""Which sentences of a report tell something about the picture.

A sentence does not *observe* if (1) all of its words are routine ones: technique, comparison,
recommendation and little words ("PA and lateral views of the chest were obtained."), or (2) it is a
message, a signature, advice or, outside the sections that describe the picture, the patient's
story, and names no finding ("Told Dr. X by telephone."). When in doubt it observes.
"""

from __future__ import annotations

import re

_ROUTINE_WORDS = {
    "little words": """
        a an the this that these those there it its is are was were be been has have had being will would could
        can may might should of in on at to from by for with without and or as if than then when which who also
        only both each all any some other via per not no none nil na do does did i we you your our please thank
        thanks however given available submitted provided performed obtained acquired taken received reviewed
        review made done dated date time hours hour hrs am pm today yesterday day days week weeks month months
        year years old after before during since between within prior previous previously earlier recent
        recently most last current currently one two three four single multiple total number series repeat
        additional second first
    """,
    "technique": """
        pa ap lateral frontal portable upright semi semierect semiupright erect supine bedside view views
        projection projections radiograph radiographs radiography radiographic radiology film films x ray rays
        xray cxr image images imaging exam examination examinations study studies chest abdomen thorax technique
        standard digital conventional consists consist consisting kub plain
    """,
    "comparison": """
        comparison comparisons compared compare compares comparing outside ct mri cta scan scans report dictated
        correlation
    """,
    "recommendation": """
        recommend recommends recommended recommendation recommendations follow followup up further evaluation
        evaluate evaluated assessment assess characterization characterize contrast enhanced noncontrast
        nonenhanced low dose dedicated short interval term clinical clinically indicated needed necessary
        appropriate warranted correlate correlated advised advise suggested suggest consider considered helpful
        useful ensure document documented documentation confirm confirmation resolution clearing therapy
        treatment nonemergent routine concern persists persist symptoms history patient possible complete
    """,
}
_ROUTINE = frozenset(word for words in _ROUTINE_WORDS.values() for word in words.split())
_WORD = re.compile(r"[^\W\d_]+")
_REDACTED = re.compile(r"X{3,}|_{2,}")
_FINDING_PATTERN = (
    r"pneumothora|effusion|consolidat|opaci|nodul|\bmass|fractur|o?edema|atelecta|infiltrat|catheter|\btubes?\b|\blines?\b|\bleads?\b|cardiomegal|heart "
    r"size|\bcardiac|malposition|free "
    r"air|\blungs?\b|hilar|hilum|mediastin|pleura|lesion|collaps|lucenc|densit|silhouette|diaphragm|shadow|air "
    r"?space|ground.glass|granuloma|calcif|\bscar|emphysem|\blobes?\b|\bzones?\b|fibros|interstiti|bronch"
)
_FINDING = re.compile(_FINDING_PATTERN, re.I)
_FINDING_OR_IMAGE = re.compile(_FINDING_PATTERN + r"|x-?ray|radiogra|radiolog|\bcxr\b|\bct\b", re.I)
_MESSAGE = re.compile(
    r"\bnotif(?:ied|ication|y)\b|\b(?:tele)?phoned?\b|\bpaged\b|\bread "
    r"?back\b|\bprimordial\b|\backnowledged receipt\b"
    r"|\baccepted receipt\b|\bmessage was\b"
    r"|\b(?:discuss|communicat|convey|relay|call|inform|report|review|email|convers)\w*\b.{0,80}?"
    r"(?:\bdr\b|\bdoctor|\bphysician|\bnurse|\bclinician|\bprovider|\bteam\b|\b[ap]\.?m\b|\bhours\b|\bXXXX[.,])"
    r"|\bdr\.? .{0,40}\b(?:aware|informed|paged|called)\b",
    re.I,
)
_CLOSING = re.compile(
    r"\belectronic(?:ally)? (?:signed|signature)|\bdictated (?:by|and)|\btranscribed\b|\bsigned "
    r"by\b|\binterpreted by\b|\bpersonally reviewed\b|\bend of "
    r"(?:report|impression)\b|\bcertified radiologist\b|\bradiologist:|\battending "
    r"(?:radiologist|physician)\b|\bquestions?\b.{0,40}\bcontact\b|\bplease "
    r"(?:call|contact)\b|^(?:recommend|correlat|clinical(?:ly)? correlat|please)",
    re.I,
)
_STORY = re.compile(
    r"\byears?[- ]old\b|\by/?o\b|\bpresent(?:ed|s|ing) "
    r"(?:with|to)\b|\badmi(?:tted|ssion)\b|\bdischarged?\b|\bhistory\b|\blaborator|\bserolog|\bpcr\b|\bswab|\btemperature\b|\bsaturation|\bspo2\b|\bintensive "
    r"care\b|\bcomplain|\bfever|\bcough|\bdysp|\bsmok|\bsymptom|\bdied\b|\bblood\b|\bantibiotic|\bintubat|\bphysical "
    r"exam|\bcrackle|\bcrepit|\bair "
    r"entry\b|\btravel|\btreatment\b|\bdiagnosed\b|\bhospitali[sz]|\bpyrexi|\boxygen\b|\bshort(?:ness)? "
    r"of breath\b",
    re.I,
)


def is_observation(sentence: str, *, may_be_story: bool = False) -> bool:
    """Whether ``sentence`` tells something about the picture (see the rules above).

    ``may_be_story``: it may be the patient's; sections that describe the picture have none.
    """
    words = _WORD.findall(_REDACTED.sub(" ", sentence).lower())
    if all(word in _ROUTINE for word in words):
        return False
    if (_MESSAGE.search(sentence) or _CLOSING.search(sentence)) and not _FINDING.search(sentence):
        return False
    return (
        not (may_be_story and _STORY.search(sentence))
        or _FINDING_OR_IMAGE.search(sentence) is not None
    )
