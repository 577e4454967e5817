"""Words that decide the value of a finding: denied, uncertain, resolved, or not stated at all.

The notation is that of ``findings``.
"""

from __future__ import annotations

# Kind of cue -> its phrases.
CUES: dict[str, str] = {
    # Before a finding: it is absent.
    "no": """
        no|without|not|nor|neither|never|cannot
        no|without definite|convincing|radiographic|obvious| evidence|sign|signs|findings of|for
        no|without clear|typical|gross evidence|sign|signs|findings of|for
        absence|lack|clearance|resolution|removal of|in
        interval| complete|interval| resolution|removal of
        no|without any|more|further|new| suggestion|indication|hint|features|suspicion of|for|that
        is|are|was|were| negative|neg for
        zero evidence|sign|signs of|for
        lack|lacks|lacking|devoid|void
        devoid|void|none|nil|zero of
        free|clear of
        no longer
        rather than
        excludes|exclude
        rules out
        fails|fail|failed to show|demonstrate|reveal
        nothing| to suggest|indicate|support
        nothing suspicious|suggestive|specific for|of
        not suspicious|suggestive|typical|indicative|characteristic|diagnostic for|of
        not consistent|compatible with
        argues|argue|speaks|speak|evidence against
        mimics|mimicking|simulates|simulating
        denies
        """,
    # After a finding: it is absent.
    "gone": """
        not longer|clearly|definitely|currently| seen|identified|present|evident|visible
        not longer|clearly|definitely|currently| visualized|appreciated|apparent
        not longer|clearly|definitely|currently| noted|demonstrated|detected
        not longer|clearly|definitely|currently| observed|found|suspected
        no longer seen|identified|present|evident|visible|visualized|appreciated|apparent
        no longer noted|demonstrated|detected
        has|have|had completely|fully|entirely|now|since|largely| resolved|cleared|disappeared
        has|have|had been|since|now| been| removed|extubated|withdrawn|excluded
        was|were|is|are now| removed|absent|excluded|gone|resolved
        resolved|removed|none|nil|lacking
        none|nil seen|identified|present|evident|visible|noted|demonstrated|detected|visualized
        is|are|was|were absent|lacking|missing|negative|none|nil
        not|never confirmed|recurred|developed|reaccumulated|reappeared|formed|reproduced
        has|have|had|did|does|do not|never confirmed|recurred|developed|reaccumulated|reappeared
        did|does|do not recur|develop|reaccumulate|reappear|persist
        is|are|was|were not confirmed|supported|substantiated|borne
        has|have vanished|gone
        no longer a| concern|problem|issue
        is|are|has|have|been| ruled out
        """,
    # Before a finding: it is uncertain.
    "maybe": """
        possible|possibly|questionable|question|questioned|equivocal
        suspected|presumed|presumably|perhaps|potentially
        may|might|could|potential
        probable|probably
        suggest|suggests|suggesting|suggestive|suspect
        suspicious for|of
        suspicion|concern for|of|that
        concerning|worrisome|question for|of
        question of
        raise|raises|raising the| possibility|question|concern of|for|that
        possibility of
        cannot|not|without completely|entirely|definitely| exclude|excluding
        cannot|not completely|entirely|definitely| rule out
        difficult to exclude
        rule out
        to exclude
        differential includes|considerations|diagnosis|diagnoses include|includes|
        if not
        favor|favors|favored|favoring|favour|favours
        unlikely
        less likely
        is| doubtful|unlikely|possible|uncertain|unclear that|if|whether there is|are
        cannot tell|distinguish|separate|differentiate
        hard|difficult|impossible to tell|distinguish|separate|differentiate
        doubt|doubtful|dubious|unconfirmed|maybe
        """,
    # Before or after a finding: it is uncertain.
    "if any": "if any|present|real|at",
    # After a finding: it is uncertain.
    "unsure": """
        cannot|not be completely|entirely|definitely|fully| excluded
        cannot|not be completely|entirely|definitely|fully| ruled out
        cannot|not completely|entirely be completely|entirely|definitely|fully| excluded
        cannot|not completely|entirely be completely|entirely|definitely|fully| ruled out
        cannot|not definitely|fully be completely|entirely|definitely|fully| excluded
        cannot|not definitely|fully be completely|entirely|definitely|fully| ruled out
        not completely|entirely|definitely|fully| excluded
        not completely|entirely|definitely|fully| ruled out
        is|are not completely|entirely|definitely|fully| excluded
        is|are not ruled out
        would|may be difficult to exclude
        is|are difficult to exclude
        is|are also| possible|suspected|questioned|questionable|considered|unlikely|equivocal
        may|might|could be present|considered
        is|are possibly present
        is|are|remains a consideration|possibility|concern
        is|are in the differential
        may|might|could|possibly be|represent|reflect| a| projectional|accentuated
        may|might|could|possibly be|represent|reflect| a| artifactual|artifact|nipple
        may|might|could|possibly be|represent|reflect| superimposed
        unlikely
        is|are felt|thought|considered| unlikely
        is|are felt|thought|considered| less likely
        is|are felt|thought|considered| not favored|favoured|likely
        is|are very|highly|somewhat| doubtful|dubious|uncertain|unclear|unconfirmed
        cannot|not be confirmed
        is|are not certain|convincing
        hard|difficult|impossible to exclude
        hard|difficult|impossible to rule out
        is|are|would|be| hard|difficult|impossible to exclude
        is|are|would|be| hard|difficult|impossible to rule out
        """,
    # Answers behind a finding; elsewhere they say nothing.
    "yes": "yes|positive",
    "absent": "negative|neg|absent",
    "question": "?",
    # Denies that something before has changed: it is still there.
    "changed": """
        has|have changed|progressed|decreased|worsened|improved|grown
        has|have been repositioned|changed|moved
        has|have moved
        is|are new|larger|smaller|bigger|different|worse|better
        """,
    # The finding before once more, elsewhere: "a small one on the right".
    "another": """
        small|moderate|large|tiny|trace|minimal|mild|new|larger|smaller|similar one|ones
        small|moderate|large|tiny|trace|minimal|mild on|in|at the| left|right
        that|those|one on|in|at the| left|right
        the left|right one|side| persists|remains|persist
        the left|right one|side is|appears unchanged|stable|persistent|present
        left|right persists|remains
        persist|persists|remain|remains on|in|at the| left|right
        """,
    # Before a finding: the sentence does not state it (history, purpose of the study).
    "aside": """
        history|hx|risk|treatment|symptoms of|for
        family history of
        treated for
        indication
        if|should there is|are|remains|persists|
        evaluate|evaluation|assess|assessment|workup|screening|screen for|of
        look|looking|sensitivity for|of
        evaluated|assessed for
        to evaluate|assess for|
        to identify|characterize
        """,
    # A new clause: no cue reaches across.
    "break": """
        but|however|although|though|whereas|while|yet|except|besides|nevertheless
        except|apart|aside for|from
        other than
        with the exception of
        with exception of
        there is|are|was|were|has|have|remains|remain|again been|is|
        in addition
        where|until
        ;
        """,
    # Joins of a list, and verbs: they decide how far a cue reaches.
    "or": """
        or|versus|vs|/
        hard|difficult|impossible to distinguish|separate|differentiate|tell from
        indistinguishable|inseparable from
        cannot be distinguished|separated|differentiated|told from
        not distinguishable|separable from
        and / or
        """,
    "and": """
        and|with|along|plus
        as well as
        """,
    "comma": ",",
    "colon": ":",
    "verb": """
        is|are|was|were|has|have|had
        remains|remain|appears|appear|persists|persist|demonstrates|demonstrate|shows|show
        has|have been
        represents|represent|reflects|reflect|indicates|indicate
        """,
    # Conditions of a part of the body.
    "large": """
        enlarged|enlargement|widened|widening|dilated|engorged|congested|indistinct|increased|large
        increased in size
        """,
    "prominent": "prominent|prominence|fullness",
    "borderline": "borderline",
    "blunt": "blunting|blunted|obscuration|obscured|obscuring",
    "normal": """
        normal|unremarkable|clear|sharp|preserved|intact
        within|in|at the| normal limits|limit|range
        within limits of normal
        upper|top limits|limit|normal of| normal|
        at|near the| upper|top limits|limit|normal of| normal|
        free of fracture
        """,
    # What follows was present before, and still is ("no change in the effusion").
    "unchanged": """
        no|without significant|appreciable|substantial| interval| change|changes|progression
        no|without relevant|definite|other interval| change|changes|progression
        no|without significant|interval|other| increase|decrease|improvement|worsening in|of
        no change|changes
        not significantly|appreciably|substantially|otherwise| changed
        """,
    # Phrases that contain a cue and are none ("no worse", "not well seen").
    "nothing": """
        compatible|consistent|keeping|correlates with
        view|views|projection|projections|radiographs|ct of the chest
        not only
        document|documenting|ensure|confirm|show|assure resolution|clearing|clearance of|
        no|not worse
        not well|fully|completely|adequately|optimally seen|visualized|demonstrated
        not well|fully|completely|adequately|optimally evaluated|assessed|included|defined
        not yet| completely|fully| resolved|cleared
        near|nearly|almost|partial|partially|incomplete complete|completely| resolution|resolved of|
        near|nearly|almost|partial|partially|incomplete complete|completely| clearing|cleared of|
        near|nearly|almost|partial|partially|incomplete complete|completely| removal of
        has|have partially|almost|nearly|incompletely completely| resolved|cleared
        not seen|present|identified on|in the|a| prior|previous|earlier|comparison|most
        not visualized|visible|evident|noted on|in the|a| prior|previous|earlier|comparison|most
        not seen|present|identified|visualized|visible|evident previously|before
        not clearly|definitely|well| seen|identified on|in the| lateral|frontal
        not clearly|definitely|well| visualized|visible|appreciated on|in the| lateral|frontal
        previous|prior|old|remote pneumonia|infection|infections|consolidation|effusion
        large bowel
        clear cut
        normal variant
        no prior|previous|comparison|comparisons
        """,
}
# Words that open a new statement after a comma, "and" or "with", whatever stood before; the soft
# ones do not where the list before goes on to an "or" ("no pneumothorax, small effusion or
# consolidation").
_OPENERS = """
    a an the there this these
    stable unchanged persistent persisting residual chronic interval
    possible possibly probable questionable
    again status redemonstrated redemonstration otherwise
"""
_SOFT_OPENERS = """
    small mild mildly moderate moderately tiny trace minimal minimally slight
    left right bilateral bibasilar
    new increased decreased improved improving worsening old healed
    patchy streaky
    one two
"""
OPENERS, SOFT_OPENERS = frozenset(_OPENERS.split()), frozenset(_SOFT_OPENERS.split())
