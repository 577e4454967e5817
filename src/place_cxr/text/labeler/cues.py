"""Words that decide how a finding is meant: denied, doubted, gone, or only thought of. Notation:
see ``findings``.
"""

from __future__ import annotations

# After these words, findings are denied ("no"), doubted ("maybe") or left out of account ("aside").
# After findings, these words say that they are absent ("gone") or in doubt ("unsure").
CUES: dict[str, str] = {
    "no": """
        no|without|not|nor|neither|never|cannot
        no|without definite|convincing|radiographic|obvious|clear|typical|gross| evidence|sign|signs|findings of|for
        absence|lack|clearance|resolution|removal of|in
        interval| complete|interval| resolution|removal of
        negative for
        free|clear of
        no longer
        rather than
        excludes|exclude
        rules out
        fails to show|demonstrate
        mimics|mimicking|simulates|simulating
        denies
        """,
    "gone": """
        not longer|clearly|definitely|currently| seen|identified|present|evident|visible|visualized|appreciated|apparent
        not longer|clearly|definitely|currently| noted|demonstrated|detected|observed|found|suspected
        no longer seen|identified|present|evident|visible|visualized|appreciated|apparent|noted|demonstrated|detected
        has|have|had completely|fully|entirely|now|since|largely| resolved|cleared|disappeared
        has|have|had been|since|now| been| removed|extubated|withdrawn|excluded
        was|were|is|are now| removed|absent|excluded|gone|resolved
        resolved|removed|none
        is|are|has|have|been| ruled out
        """,
    "maybe": """
        possible|possibly|questionable|question|questioned|equivocal|suspected|presumed|presumably|perhaps|potentially
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
        """,
    "unsure": """
        cannot|not completely|entirely|definitely|fully| be completely|entirely|definitely|fully| excluded
        cannot|not completely|entirely|definitely|fully| be completely|entirely|definitely|fully| ruled out
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
        may|might|could|possibly be|represent|reflect| a| projectional|artifactual|artifact|accentuated|nipple
        may|might|could|possibly be|represent|reflect| superimposed
        unlikely
        is|are felt|thought| unlikely
        """,
    "aside": """
        history|hx|risk|treatment|symptoms of|for
        family history of
        treated for
        indication
        if|should there is|are|remains|persists|
        evaluate|evaluation|assess|assessment|workup|screening|screen|look|looking|sensitivity for|of
        evaluated|assessed for
        to evaluate|assess for|
        to identify|characterize
        """,
    "break": """
        but|however|although|though|whereas|while|yet|except|besides|nevertheless
        except|apart|aside for|from
        other than
        with the exception of
        with exception of
        there is|are|was|were|has|have|remains|remain|again been|is|
        in addition
        where|until
        ;|(|)
        """,
    "or": """
        or|versus|vs|/
        and / or
        """,
    "and": """
        and|with|along|plus
        as well as
        """,
    "comma": ",",
    "colon": ":",
    "verb": """
        is|are|was|were|has|have|had|remains|remain|appears|appear|persists|persist|demonstrates|demonstrate|shows|show
        has|have been
        represents|represent|reflects|reflect|indicates|indicate
        """,
    # States of a part of the body.
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
    # What follows was there before, and is stated ("no change in the effusion").
    "unchanged": """
        no|without significant|appreciable|substantial|relevant|definite|other| interval| change|changes|progression
        no|without significant|interval|other| increase|decrease|improvement|worsening in|of
        no change|changes
        not significantly|appreciably|substantially|otherwise| changed
        """,
    # Words that only look like one of these.
    "nothing": """
        compatible|consistent|keeping|correlates with
        view|views|projection|projections|radiographs|ct of the chest
        not only
        document|documenting|ensure|confirm|show|assure resolution|clearing|clearance of|
        no|not worse
        not well|fully|completely|adequately|optimally seen|visualized|evaluated|assessed|demonstrated|included|defined
        not yet| completely|fully| resolved|cleared
        near|nearly|almost|partial|partially|incomplete complete|completely| resolution|resolved|clearing|cleared of|
        near|nearly|almost|partial|partially|incomplete complete|completely| removal of
        has|have partially|almost|nearly|incompletely completely| resolved|cleared
        not seen|present|identified|visualized|visible|evident|noted on|in the|a| prior|previous|earlier|comparison|most
        not seen|present|identified|visualized|visible|evident previously|before
        not clearly|definitely|well| seen|identified|visualized|visible|appreciated on|in the| lateral|frontal
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
    a an the there this these stable unchanged persistent persisting possible possibly probable questionable again
    status redemonstrated redemonstration interval residual otherwise chronic
"""
_SOFT_OPENERS = """
    small mild mildly moderate moderately tiny trace minimal minimally slight left right bilateral bibasilar new
    increased decreased improved improving worsening patchy streaky old healed
"""
OPENERS, SOFT_OPENERS = frozenset(_OPENERS.split()), frozenset(_SOFT_OPENERS.split())
