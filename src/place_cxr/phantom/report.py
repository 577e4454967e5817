"""A radiologist's report of a phantom scene, and the record of what it says.

What is there and what is said are two things. A present finding is left out the more often the less
conspicuous it is (``MISSED_CHANCE``; the share ``DENIED_FRACTION`` of those is even denied) and
hedged the more often (``HEDGED_CHANCE``); an absent one is denied, passed over, or very rarely
suspected (``FALSE_DOUBT_CHANCE``). Side, zone, severity, size, tip and change over time in a report
are always those of the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN
from place_cxr.phantom.grammar import Die, tidy_sentence
from place_cxr.phantom.layout import lay_out_report
from place_cxr.phantom.phrases import GRAMMAR
from place_cxr.phantom.scene import PHANTOM_FINDINGS, Finding, Scene
from place_cxr.phantom.wording import Wording

MISSED_CHANCE = (
    0.01,
    0.22,
)  # chance that a present finding is not reported: clearly visible, invisible
HEDGED_CHANCE = (
    0.02,
    0.60,
)  # chance that a reported one is worded as uncertain: clearly visible, invisible
OBVIOUS_HEDGE_FACTOR = 0.35  # a large or severe finding is hedged this much less
DENIED_FRACTION = 0.10  # share of the missed ones that the report denies
FALSE_DOUBT_CHANCE = 0.012  # chance that an absent finding of DOUBTABLE is suspected
IMPRESSION_ONLY_FRACTION, FINDINGS_ONLY_FRACTION = (
    0.05,
    0.18,
)  # shares of reports with one of the two sections
SUMMARY_CHANCE = 0.35  # chance of one summarising denial ("the lungs are clear") where it is true

DENIAL_CHANCE = {  # chance that an absent finding is denied by name
    "Pleural Effusion": 0.80,
    "Pneumothorax": 0.80,
    "Consolidation": 0.72,
    "Atelectasis": 0.10,
    "Edema": 0.42,
    "Cardiomegaly": 0.66,
    "Nodule": 0.16,
    "Emphysema": 0.07,
    "Rib Fracture": 0.36,
    "Pacemaker": 0.02,
    "Central Line": 0.04,
    "Endotracheal Tube": 0.03,
    "Foreign Object": 0.06,
}
# chance that a denial is a sentence of its own kind ("costophrenic angles are sharp")
OWN_DENIAL_CHANCE = {
    "Pleural Effusion": 0.12,
    "Pneumothorax": 0.07,
    "Consolidation": 0.1,
    "Edema": 0.35,
    "Cardiomegaly": 0.9,
    "Nodule": 0.4,
    "Emphysema": 0.6,
    "Rib Fracture": 0.8,
}
PLEURAL = frozenset(("Pleural Effusion", "Pneumothorax"))
PARENCHYMAL = frozenset(("Consolidation", "Atelectasis", "Edema", "Nodule"))
ACUTE_FINDINGS = frozenset(("Pleural Effusion", "Pneumothorax", "Consolidation", "Edema"))
SUPPORT_DEVICES = frozenset(("Pacemaker", "Central Line", "Endotracheal Tube"))
DEVICES_AND_OBJECTS = frozenset((*SUPPORT_DEVICES, "Foreign Object"))
DOUBTABLE = (
    "Pleural Effusion",
    "Pneumothorax",
    "Consolidation",
    "Atelectasis",
    "Edema",
    "Cardiomegaly",
    "Nodule",
)
NEIGHBORS = frozenset(("Pleural Effusion", "Pneumothorax", "Consolidation", "Atelectasis"))
NORMAL_CHEST = frozenset(PHANTOM_FINDINGS) - DEVICES_AND_OBJECTS
READING_ORDER = (
    DEVICES_AND_OBJECTS,
    PARENCHYMAL | {"Emphysema"},
    PLEURAL,
    {"Cardiomegaly"},
    {"Rib Fracture"},
)  # in the order of reading
REGION_OF_FINDING = {name: place for place, names in enumerate(READING_ORDER) for name in names}
TECHNIQUE_REGION = -1  # a region read before all
_SentenceBlock = tuple[int, list[str]]  # region, sentences that stay together


@dataclass(frozen=True, slots=True)
class PhantomReport:
    """``said`` maps each of FINDINGS to PRESENT, ABSENT, UNCERTAIN or NOT_MENTIONED (NaN) as
    ``text`` has it.
    """

    text: str
    said: dict[str, float]


def write_phantom_report(scene: Scene, rng: np.random.Generator) -> PhantomReport:
    """One report of one scene; the same generator state gives the same report. Draws once from
    ``rng``.
    """
    author = _Author(scene, Die(rng))
    return PhantomReport(author.write(), author.said)


def _join_ribs(findings: list[Finding]) -> list[Finding]:
    """Broken ribs of one side are told in one breath."""
    if findings[0].name != "Rib Fracture":
        return findings
    joined = []
    for side in ("left", "right"):
        ribs = sorted({finding.detail for finding in findings if finding.side == side})
        if ribs:
            joined.append(replace(findings[0], side=side, detail=" and ".join(ribs)))
    return joined


class _Author:
    def __init__(self, scene: Scene, die: Die) -> None:
        self.scene, self.die, self.words = scene, die, Wording(scene, die)
        self.said = dict.fromkeys(PHANTOM_FINDINGS, NOT_MENTIONED)
        self.positive: list[Finding] = []
        self.doubted: list[Finding] = []
        self.denied: set[str] = set()
        self.free: set[str] = set()  # what may be denied
        self._decide()

    def write(self) -> str:
        """The text; afterwards ``said`` holds what it says."""
        findings = self._findings()
        habit = self.die.draw()
        if habit < IMPRESSION_ONLY_FRACTION and len(findings) < 7:
            return lay_out_report(self.scene, self.die, [], findings)
        impression = self._impression() if habit < 1 - FINDINGS_ONLY_FRACTION else []
        return lay_out_report(self.scene, self.die, findings, impression)

    # What to say ----------------------------------------------------------------------------------

    def _decide(self) -> None:
        die = self.die
        present: dict[str, list[Finding]] = {}
        for finding in self.scene.findings:
            present.setdefault(finding.name, []).append(finding)
        for name in PHANTOM_FINDINGS:
            if name in present:
                faint = 1 - max(finding.conspicuity for finding in present[name])
                if die.chance(MISSED_CHANCE[0] + (MISSED_CHANCE[1] - MISSED_CHANCE[0]) * faint):
                    if die.chance(DENIED_FRACTION):
                        self.denied.add(name)
                elif name not in SUPPORT_DEVICES and die.chance(self._hedge(faint, present[name])):
                    self.doubted += present[name][:1]
                    self.said[name] = UNCERTAIN
                else:
                    self.positive += _join_ribs(present[name])
                    self.said[name] = PRESENT
            elif name in DOUBTABLE and die.chance(FALSE_DOUBT_CHANCE):
                self.doubted.append(self._imagined(name))
                self.said[name] = UNCERTAIN
            else:
                self.free.add(name)
                if die.chance(DENIAL_CHANCE[name]):
                    self.denied.add(name)
        self.free |= self.denied

    @staticmethod
    def _hedge(faint: float, findings: list[Finding]) -> float:
        chance: float = HEDGED_CHANCE[0] + (HEDGED_CHANCE[1] - HEDGED_CHANCE[0]) * faint**1.5
        return chance * (OBVIOUS_HEDGE_FACTOR if findings[0].severity in ("large", "severe") else 1)

    def _imagined(self, name: str) -> Finding:
        pleural = name in PLEURAL
        zone = (
            ("upper" if name == "Pneumothorax" else "lower")
            if pleural
            else self.die.pick(("upper", "mid", "lower"))
        )
        size = 4 + round(6 * self.die.draw()) if name == "Nodule" else None
        return Finding(
            name, self.die.pick(("left", "right")), zone, "small" if pleural else "mild", size
        )

    def _mark_denied(self, names: frozenset[str] | set[str]) -> None:
        for name in names:
            self.said[name] = ABSENT
        self.denied -= names

    # Findings -------------------------------------------------------------------------------------

    def _findings(self) -> list[str]:
        """The observation sentences, in the order of one of three habits."""
        die = self.die
        blocks = self._positives() + self._resolved() + self._denials()
        blocks += self._normal_remarks(len(blocks))
        habit = die.draw()
        blocks = die.shuffled(blocks)
        if habit < 0.45:
            blocks.sort(key=lambda block: block[0])
        elif habit < 0.6:
            blocks.sort(key=lambda block: -block[0])
        blocks.sort(key=lambda block: block[0] != TECHNIQUE_REGION)
        return [tidy_sentence(sentence) for _, sentences in blocks for sentence in sentences]

    def _positives(self) -> list[_SentenceBlock]:
        die, words = self.die, self.words
        remaining = die.shuffled(self.positive)
        blocks = []
        anatomical = [finding for finding in remaining if finding.name not in DEVICES_AND_OBJECTS]
        if len(anatomical) > 1 and die.chance(0.35):
            first, second = anatomical[:2]
            if second.name == "Pleural Effusion":
                first, second = second, first
            blocks.append((REGION_OF_FINDING[first.name], [words.pair(first, second)]))
            remaining = [
                finding for finding in remaining if finding is not first and finding is not second
            ]
        for finding in remaining:
            sentences = words.state(finding)
            denied_acute = sorted(self.denied & ACUTE_FINDINGS)
            plain = len(sentences) == 1 and " with" not in sentences[0] and "," not in sentences[0]
            if denied_acute and plain and finding.name in NEIGHBORS and die.chance(0.15):
                self._mark_denied({denied_acute[0]})
                sentences[0] += " without " + GRAMMAR.say(denied_acute[0] + " name", die, {})
            blocks.append((REGION_OF_FINDING[finding.name], sentences))
        return blocks + [
            (REGION_OF_FINDING[finding.name], [words.doubt(finding)]) for finding in self.doubted
        ]

    def _resolved(self) -> list[_SentenceBlock]:
        blocks = []
        for name in PHANTOM_FINDINGS:
            if name not in self.free:
                continue
            previous = [
                finding for finding in self.scene.prior_findings or () if finding.name == name
            ]
            if len(previous) == 1 and name != "Foreign Object" and self.die.chance(0.6):
                self._mark_denied({name})
                rule = "removed" if name in SUPPORT_DEVICES else "gone"
                blocks.append((REGION_OF_FINDING[name], [self.words.about(rule, previous[0])]))
        return blocks

    def _denials(self) -> list[_SentenceBlock]:
        die = self.die
        blocks: list[_SentenceBlock] = []
        if self.free >= PARENCHYMAL and die.chance(SUMMARY_CHANCE):
            self._mark_denied(PARENCHYMAL)
            hyperinflated = self.said["Emphysema"] == PRESENT
            pleural = any(self.said[name] == PRESENT for name in PLEURAL)
            rule = (
                "clear hyperinflated"
                if hyperinflated
                else "clear otherwise"
                if pleural
                else "clear"
            )
            blocks.append((1, [GRAMMAR.say(rule, die, {})]))
        else:
            blocks += self._other_lung()
        if self.free >= SUPPORT_DEVICES and die.chance(0.12):
            self._mark_denied(SUPPORT_DEVICES)
            blocks.append((0, [GRAMMAR.say("no devices", die, {})]))
        if self.free >= PLEURAL and die.chance(0.07):
            self._mark_denied(PLEURAL)
            blocks.append((2, [GRAMMAR.say("pleura normal", die, {})]))
        names = []
        for name in die.shuffled(sorted(self.denied)):
            if die.chance(OWN_DENIAL_CHANCE.get(name, 0)):
                blocks.append((REGION_OF_FINDING[name], [GRAMMAR.say(name + " absent", die, {})]))
            else:
                names.append(name)
        self._mark_denied(set(self.denied))
        while names:
            count = 1 + int(die.draw() * min(4, len(names)))
            blocks.append((REGION_OF_FINDING[names[0]], [self._deny_list(names[:count])]))
            names = names[count:]
        return blocks

    def _deny_list(self, names: Sequence[str]) -> str:
        die = self.die
        phrases = [GRAMMAR.say(name + " name", die, {}) for name in names]
        last = " or " if len(phrases) < 3 else die.pick((", or ", " or "))
        text = ", ".join(phrases[:-1]) + last + phrases[-1] if len(phrases) > 1 else phrases[0]
        rule = "deny after" if self.positive and die.chance(0.1) else "deny"
        return GRAMMAR.say(rule, die, {"names": text})

    def _other_lung(self) -> list[_SentenceBlock]:
        """Praise of the healthy lung, where all that is there is on the other side."""
        sides = {
            finding.side for finding in self.scene.findings if finding.name in PARENCHYMAL | PLEURAL
        }
        other_side = {"left": "right", "right": "left"}.get("".join(sides))
        lungs_wide = self.doubted or self.scene.labels["Emphysema"]
        if other_side is None or lungs_wide or not self.die.chance(0.25):
            return []
        return [(1, [GRAMMAR.say("other lung", self.die, {"other": other_side})])]

    def _normal_remarks(self, blocks: int) -> list[_SentenceBlock]:
        die = self.die
        rules = [("mediastinum", 3), ("mediastinum", 3), ("abdomen", 5)]
        if die.chance(0.35):
            rules.append((f"quality {self.scene.view}", TECHNIQUE_REGION))
        if (
            not self.scene.labels["Emphysema"]
            and not self.scene.labels["Atelectasis"]
            and self.said["Emphysema"] != ABSENT
        ):
            rules.append(("volume", 1))
        if self.scene.prior_findings is not None:
            rules.append(("compared with", TECHNIQUE_REGION))
            if self.scene.prior_findings == self.scene.findings:
                rules.append(("no change", 6))
        count = max(5 - blocks, min(7 - blocks, int(die.draw() * 4)))
        return [
            (region, [GRAMMAR.say(rule, die, {})]) for rule, region in die.shuffled(rules)[:count]
        ]

    # Impression -----------------------------------------------------------------------------------

    def _impression(self) -> list[str]:
        die, words = self.die, self.words
        lines = []
        nodules = [finding for finding in self.positive if finding.name == "Nodule"]
        remaining = self.positive
        if len(nodules) > 1 and die.chance(0.7):
            lines.append(words.nodules(nodules))
            remaining = [finding for finding in remaining if finding.name != "Nodule"]
        for finding in die.shuffled(remaining):
            if finding.name not in SUPPORT_DEVICES or die.chance(0.25):
                lines.append(words.summary(finding))
        lines += [words.doubt(finding) for finding in self.doubted if die.chance(0.8)]
        healthy = not self.scene.findings and not self.doubted
        if self._may_deny(ACUTE_FINDINGS) and (not lines or die.chance(0.25)):
            normal = healthy and die.chance(0.2)
            lines.append(GRAMMAR.say("normal chest" if normal else "no acute", die, {}))
            self._mark_denied(NORMAL_CHEST if normal else ACUTE_FINDINGS)
        elif lines and die.chance(0.3):
            absent = [name for name in sorted(ACUTE_FINDINGS) if self.said[name] == ABSENT]
            if absent:
                lines.append(self._deny_list(die.shuffled(absent)[:2]))
        if lines and die.chance(0.18):
            lines.append(
                GRAMMAR.say("notify" if self.positive or self.doubted else "closing", die, {})
            )
        return [tidy_sentence(line) for line in lines]

    def _may_deny(self, names: frozenset[str]) -> bool:
        return all(name in self.free or self.said[name] == ABSENT for name in names)
