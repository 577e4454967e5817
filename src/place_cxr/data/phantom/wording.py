"""Sentences about the findings of one scene: what is there, what it may be, how it has changed."""

from __future__ import annotations

from dataclasses import dataclass

from place_cxr.data.phantom.boilerplate import DENIALS, FRAMES, HEADERS, NORMAL
from place_cxr.data.phantom.grammar import Die, Grammar, Rule
from place_cxr.data.phantom.phrases import BODY, DEVICES, LUNG, PLEURA, SHORT, WORDS
from place_cxr.data.phantom.scene import Finding, Scene

GRAMMAR = Grammar(WORDS | PLEURA | LUNG | BODY | DEVICES | FRAMES | DENIALS | NORMAL | HEADERS)
SHORTS = Grammar(WORDS | SHORT)
SEVERITIES = ("small", "mild", "moderate", "large", "severe")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
ORDINALS += ("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth")
PLURAL_SHORTS = frozenset(f"{name} several" for name in ("Pleural Effusion", "Pneumothorax", "Consolidation", "Nodule"))
DEVICE = frozenset(("Pacemaker", "Central Line", "Endotracheal Tube", "Foreign Object"))


@dataclass(frozen=True, slots=True)
class Phrase:
    """A finding in words: with article, without, whether plural, and what has become of it since the prior study."""

    finding: Finding
    full: str
    bare: str
    plural: bool
    change: str  # "new", "larger", "smaller", "same" or "" (nothing to compare, or not comparable)


class Wording:
    """Words for one scene; each call draws from ``die``."""

    def __init__(self, scene: Scene, die: Die) -> None:
        self.scene, self.die = scene, die

    def _slots(self, finding: Finding, severity_chance: float) -> dict[str, str | Rule]:
        both = finding.side in ("bilateral", "")
        place = (finding.zone or "side") + (" both" if both else "")
        severe = finding.severity in GRAMMAR and self.die.chance(severity_chance)
        slots: dict[str, str | Rule] = {
            "side": finding.side,
            "in": GRAMMAR.rules["in " + place],
            "of": GRAMMAR.rules["of " + place],
            "sev": GRAMMAR.rules[finding.severity] if severe else "",
            "sev ly": GRAMMAR.rules.get(finding.severity + " ly", "") if severe else "",
            "ratio": f"{self.scene.cardiothoracic_ratio:.2f}",
        }
        if finding.size_mm is not None:
            size = f"{finding.size_mm:.0f} mm" if self.die.chance(0.6) else f"{finding.size_mm / 10:.1f} cm"
            slots["size"] = size
            slots["size plain"] = self.die.pick(("", "", "approximately ", "about ", "approx. ")) + size
        if finding.name == "Rib Fracture":
            slots["rib"] = self._rib(finding.detail)
        if finding.name == "Foreign Object":
            kind = finding.detail
            slots["object"] = GRAMMAR.rules.get("object " + kind, kind)
            over = "over side" if finding.side in ("left", "right") else "over chest"
            slots["object place"] = GRAMMAR.rules.get("over " + kind, GRAMMAR.rules[over])
        slots["tip"] = finding.detail
        return slots

    def _rib(self, detail: str) -> str:
        digits = "".join(filter(str.isdigit, detail))
        if not digits:
            return detail
        number = int(digits)
        ending = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
        return self.die.pick((ORDINALS[number - 1], f"{number}{ending}"))

    def phrase(self, finding: Finding, severity_chance: float = 0.85) -> tuple[Phrase, dict[str, str | Rule]]:
        """The finding as a noun phrase, and the slots of a sentence around it."""
        slots = self._slots(finding, severity_chance)
        several = finding.side == "bilateral" or finding.detail.endswith("clips")
        rule = finding.name + (" several" if several and finding.name + " several" in GRAMMAR else "")
        text = GRAMMAR.say(rule, self.die, slots)
        kind, bare = text[0], text[2:]
        phrase = Phrase(finding, "a " + bare if kind == "a" else bare, bare, kind == "p", self._change(finding))
        slots |= {
            "e full": phrase.full,
            "e bare": bare,
            "is": "are" if phrase.plural else "is",
            "has": "have" if phrase.plural else "has",
            "remains": "remain" if phrase.plural else "remains",
        }
        return phrase, slots

    def _change(self, finding: Finding) -> str:
        if self.scene.prior_findings is None:
            return ""
        before = [other for other in self.scene.prior_findings if other.name == finding.name]
        if not before:
            return "new"
        before = [other for other in before if (other.side, other.zone) == (finding.side, finding.zone)]
        if len(before) != 1:
            return ""
        then = before[0]
        if finding.size_mm and then.size_mm:
            growth = finding.size_mm / then.size_mm
            return "larger" if growth > 1.15 else "smaller" if growth < 1 / 1.15 else "same"
        if finding.severity in SEVERITIES and then.severity in SEVERITIES:
            step = SEVERITIES.index(finding.severity) - SEVERITIES.index(then.severity)
            return "larger" if step > 0 else "smaller" if step < 0 else "same"
        return "same" if finding.detail == then.detail else ""

    def _own(self, finding: Finding) -> str:
        """A rule of whole sentences for this finding, or an empty name."""
        name = finding.name
        if finding.side == "bilateral" and name + " several" in GRAMMAR:
            rules = (name + " own several", name + " own any")
        else:
            rules = (f"{name} own {finding.severity}", name + " own", name + " own any")
        known = [rule for rule in rules if rule in GRAMMAR]
        return self.die.pick(known) if known else ""

    def state(self, finding: Finding) -> list[str]:
        """One or two sentences that say the finding is there, the second about its change since the prior study."""
        die = self.die
        phrase, slots = self.phrase(finding)
        own = self._own(finding)
        change = phrase.change if die.chance(0.75) else ""
        if own and die.chance(0.8 if finding.name in DEVICE else 0.15 if change else 0.45):
            return [GRAMMAR.say(own, die, slots)]
        if not change:
            return [GRAMMAR.say("state", die, slots)]
        if change == "new":
            return [GRAMMAR.say("state new", die, slots)]
        text = GRAMMAR.say(die.pick(("state again", "state")), die, slots)
        if die.chance(0.5):
            return [text + GRAMMAR.say(change, die, slots)]
        return [text, self.about(f"{change} after", finding)]

    def about(self, rule: str, finding: Finding) -> str:
        """A sentence about a finding already known: how it has changed, or that it is gone."""
        name = finding.name + (
            " several" if finding.side == "bilateral" and finding.name + " several" in SHORTS else ""
        )
        slots = self._slots(finding, 0)
        plural = name in PLURAL_SHORTS
        slots |= {
            "short": SHORTS.say(name, self.die, slots),
            "is": "are" if plural else "is",
            "has": "have" if plural else "has",
        }
        return GRAMMAR.say(rule, self.die, slots)

    def summary(self, finding: Finding) -> str:
        """The finding in a line of an impression."""
        die = self.die
        phrase, slots = self.phrase(finding, 0.7)
        change = phrase.change
        if change and die.chance(0.5):
            if change == "new":
                return GRAMMAR.say("state new", die, slots)
            return phrase.bare + GRAMMAR.say(change, die, slots)
        own = self._own(finding) if finding.name in DEVICE else ""
        return GRAMMAR.say(own or die.pick(("state", "brief", "brief", "brief")), die, slots)

    def pair(self, first: Finding, second: Finding) -> str:
        """One sentence that states two findings."""
        _, slots = self.phrase(first)
        other, _ = self.phrase(second)
        slots |= {"f full": other.full, "f bare": other.bare}
        near = first.side == second.side and second.name in ("Atelectasis", "Consolidation")
        near = near and second.zone == "lower" and first.name == "Pleural Effusion"
        return GRAMMAR.say("next to" if near else "both of", self.die, slots)

    def doubt(self, finding: Finding) -> str:
        """A sentence that the finding may be there."""
        _, slots = self.phrase(finding, 0.25)
        own = (
            finding.name
            + " doubt"
            + (" several" if finding.side == "bilateral" and finding.name + " doubt several" in GRAMMAR else "")
        )
        return GRAMMAR.say(own if own in GRAMMAR and self.die.chance(0.4) else "doubt", self.die, slots)
