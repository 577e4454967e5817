"""The wording around findings: frames, denials, changes, normal anatomy, headers.

The notation is that of the package ``phrases``.
"""

from __future__ import annotations

FRAME_RULES = {
    # Words that the other frames use.
    "prior": (
        "[the prior study|the prior study|the previous study|the prior examination"
        "|the previous examination|the prior radiograph|the previous radiograph|the prior exam"
        "|the earlier study|the comparison study|the most recent prior]"
    ),
    "compared": "[compared to|compared with|since|from|relative to|in comparison with]",
    "seen": "[seen|noted|present|identified|visualized|demonstrated|evident|observed]",
    # A present finding: {e full} is the phrase with article, {e bare} without.
    "state": (
        "["
        "{e bare}"
        "|{e bare}"
        "|There {is} {e full}"
        "|There {is} {e full}"
        "|{e full} {is} {seen}"
        "|{e bare} {is} {seen}"
        "|{e bare} noted"
        "|The [study|examination|radiograph|image|film] [shows|demonstrates|reveals] {e full}"
        "|Note is made of {e full}"
        "|[Evidence of|Presence of] {e full}"
        "]"
    ),
    "brief": (
        "[{e bare}|{e bare}|{e bare}|{e bare}, as above|{e bare}, as described"
        "|{e bare} as detailed above]"
    ),
    # A present finding, and that the prior study had it or did not.
    "state again": (
        "["
        "There {is} again {e full}"
        "|Again [seen|noted|demonstrated|identified] {is} {e full}"
        "|{e bare} {is} again [seen|noted|demonstrated|present]"
        "|Redemonstration of {e full}"
        "|[Persistent|Persisting|Known] {e bare}"
        "|{e full} {remains} [visible|evident|present]"
        "]"
    ),
    "state new": (
        "["
        "New {e bare}"
        "|New {e bare}"
        "|There {is} now {e full}"
        "|Interval development of {e full}"
        "|{e full} {is} new {compared} {prior}"
        "|{e bare}, new {compared} {prior}"
        "|Since {prior}, {e full} {has} [developed|appeared]"
        "|{e bare}, [not seen|not present] on {prior}"
        "|Newly [apparent|developed] {e bare}"
        "]"
    ),
    # How it has changed, as the end of a sentence.
    "larger": (
        "["
        ", [increased|larger|worse|progressed|more extensive] {compared} {prior}"
        "|, [worsening|increasing|progressing]"
        "|, [slightly|mildly|somewhat|clearly] [increased|larger|worse] [in extent|] {compared} "
        "{prior}"
        "]"
    ),
    "smaller": (
        "["
        ", [decreased|smaller|improved|less extensive] {compared} {prior}"
        "|, [improving|decreasing|resolving]"
        "|, [slightly|mildly|somewhat|clearly] [decreased|smaller|improved] {compared} {prior}"
        "]"
    ),
    "same": (
        "["
        ", "
        "[unchanged|stable|similar in extent|not significantly changed|without significant change"
        "]"
        " {compared} {prior}"
        "|, [unchanged|stable|similar to {prior}|without interval change]"
        "]"
    ),
    # How it has changed, as a sentence of its own: {short} names the finding again.
    "comparing": (
        "[Compared to {prior}|Compared with {prior}|In comparison with {prior}"
        "|Relative to {prior}|Since {prior}|In the interval]"
    ),
    "larger after": (
        "["
        "{comparing}, the {short} {has} "
        "[increased|worsened|progressed|increased in [size|extent]|enlarged]"
        "|The {short} {has} [increased|worsened|progressed|enlarged] "
        "[since|from|compared to|compared with] {prior}"
        "|Interval [increase in|worsening of|progression of] the {short}"
        "]"
    ),
    "smaller after": (
        "["
        "{comparing}, the {short} {has} "
        "[decreased|improved|partially cleared|decreased in [size|extent]|partially resolved]"
        "|The {short} {has} [decreased|improved|diminished] [since|from|compared to|compared with]"
        " {prior}"
        "|Interval [decrease in|improvement of|improvement in] the {short}"
        "]"
    ),
    "same after": (
        "["
        "{comparing}, the {short} {has} [not changed|not significantly changed|remained stable]"
        "|The {short} {is} [unchanged|stable|not significantly changed] "
        "[since|from|compared to|compared with] {prior}"
        "|No [significant|] [interval|] change in the {short}"
        "]"
    ),
    # A finding of the prior study that has resolved, a device that is out.
    "gone": (
        "["
        "{comparing}, the {short} {has} [resolved|cleared|disappeared]"
        "|The [previously|formerly] [seen|noted|described|demonstrated] {short} "
        "[{has} resolved|{is} no longer [seen|visible|evident]|{has} cleared]"
        "|[Interval|Complete|] resolution of the [previously [seen|noted|described]|prior] {short}"
        "]"
    ),
    "removed": (
        "["
        "The {short} {has} been removed [since {prior}|in the interval|]"
        "|[Interval|] removal of the [previously seen|prior] {short}"
        "|{comparing}, the {short} {has} been removed"
        "|The {short} {is} no longer [seen|present]"
        "]"
    ),
    # A finding that may be there.
    "doubt": (
        "["
        "[Possible|Questionable|Suspected|Equivocal|Possible] {e bare}"
        "|There may be {e full}"
        "|{e full} "
        "[cannot be excluded|is not excluded|cannot be ruled out|is possible|is suspected"
        "|is difficult to exclude|would be difficult to exclude]"
        "|Cannot [exclude|rule out] {e full}"
        "|[Findings|Appearances] [may|might|could] [represent|reflect] {e full}"
        "|[Findings|Appearances] raise the possibility of {e full}"
        "|[Question of|Question] {e full}"
        "|[Subtle|Equivocal] findings which may represent {e full}"
        "|{e full} [may be|might be|is possibly] present"
        "]"
    ),
    # Two findings in one sentence: {e ...} is the first, {f ...} the second.
    "both of": (
        "["
        "There {is} {e full} and {f full}"
        "|{e bare} and {f bare}"
        "|{e bare} and {f bare} [are seen|are noted|are present|are demonstrated]"
        "|{e bare}, as well as {f full}"
        "|{e bare} in addition to {f full}"
        "|There {is} {e full}, [and|along with|as well as] {f full}"
        "]"
    ),
    "next to": (
        "["
        "There {is} {e full} with [adjacent|associated|accompanying|neighboring] {f bare}"
        "|{e bare} [and|with] [adjacent|associated|accompanying|overlying|subjacent] {f bare}"
        "|{e full} {is} {seen}, with [adjacent|associated|accompanying] {f bare}"
        "]"
    ),
    # Devices are in place, not present, and keep their position.
    "state device": (
        "["
        "{e full} {is} [in place|seen|present|noted|in situ]"
        "|{e bare} [in place|noted|in situ|present]"
        "|There {is} {e full}[ in place|]"
        "|Note is made of {e full}"
        "]"
    ),
    "state new device": (
        "["
        "New {e bare}[ in place|]"
        "|Interval placement of {e full}"
        "|{e full} {has} been placed [since {prior}|in the interval]"
        "|There {is} now {e full}[ in place|]"
        "|{e bare}, new {compared} {prior}"
        "]"
    ),
    "state again device": (
        "[There {is} again {e full}|{e full} {remains} in place|{e full} {is} again [seen|noted]"
        "|Again [seen|noted] {is} {e full}|{e bare} again noted]"
    ),
    "same device": (
        ", "
        "[unchanged|unchanged in position|in unchanged position|stable in position"
        "|unchanged {compared} {prior}]"
    ),
    "same after device": (
        "["
        "{comparing}, the {short} {is} unchanged in position"
        "|The {short} {is} [unchanged|in unchanged position|stable in position]"
        "|No change in the position of the {short}"
        "]"
    ),
}

DENIAL_RULES = {
    # {names} is a list of findings, joined by "or".
    "deny": (
        "["
        "No {names}"
        "|No {names}"
        "|No {names} "
        "[is seen|is identified|is present|is noted|is evident|is visualized|is demonstrated"
        "|is detected]"
        "|There is no {names}"
        "|There is no "
        "[evidence of|sign of|radiographic evidence of|convincing evidence of|definite] {names}"
        "|No "
        "[evidence of|radiographic evidence of|definite|sign of|visible|appreciable|convincing] "
        "{names}"
        "|Negative for {names}"
        "|Without [evidence of|] {names}"
        "]"
    ),
    "deny after": "[Otherwise no {names}|No {names} otherwise|There is otherwise no {names}]",
    # One sentence that denies all findings of the lungs, or every acute one.
    "clear": (
        "["
        "[The lungs|Lungs|The lung fields|Both lungs|The lungs and airways|Lung fields] are "
        "[clear|clear|clear bilaterally|grossly clear|well aerated and clear"
        "|well expanded and clear|normally aerated and clear|symmetrically aerated and clear]"
        "|[Clear lungs|Lungs clear]"
        "|The [lungs|lung fields] [show|demonstrate] no "
        "[focal abnormality|parenchymal abnormality|focal lesion]"
        "|No [focal|] [parenchymal|pulmonary parenchymal] abnormality"
        "]"
    ),
    "clear otherwise": (
        "["
        "[The lungs|Lungs|The lung fields] are otherwise clear"
        "|Otherwise[,|] [the lungs|lungs] are clear"
        "|Otherwise clear lungs"
        "|The remainder of the lungs is clear"
        "|The lungs [elsewhere|otherwise] [show|demonstrate] no focal abnormality"
        "]"
    ),
    "clear hyperinflated": (
        "["
        "The lungs are [hyperinflated|hyperexpanded] but [otherwise|] clear"
        "|No focal abnormality in the hyperinflated lungs"
        "]"
    ),
    "no acute": (
        "["
        "[No|There is no] "
        "[acute|radiographic evidence of acute|evidence of acute|evidence for acute] "
        "[cardiopulmonary|intrathoracic|cardiothoracic] "
        "[process|abnormality|disease|findings|pathology]"
        "|No acute [disease|findings|abnormality] in the chest"
        "|No acute [cardiopulmonary|intrathoracic] abnormality [seen|identified|detected]"
        "]"
    ),
    "normal chest": (
        "["
        "Normal "
        "[chest|chest radiograph|chest x-ray|radiographic examination of the chest|examination]"
        "|[Chest radiograph|Radiograph of the chest] within normal limits"
        "|Unremarkable [chest radiograph|examination of the chest|chest]"
        "]"
    ),
    # One sentence for the pleura, for all devices, for the healthy lung.
    "pleura normal": (
        "["
        "[The|] pleural [surfaces|spaces] are [normal|clear|unremarkable]"
        "|No pleural abnormality [is seen|]"
        "]"
    ),
    "no devices": (
        "["
        "No "
        "[lines or tubes|support devices|indwelling devices|lines, tubes, or devices"
        "|support lines or tubes]"
        " [are present|are seen|are identified|]"
        "|There are no [support devices|lines or tubes]"
        "]"
    ),
    "other lung": (
        "["
        "The {other} lung is "
        "[clear|well aerated|well expanded and clear|unremarkable|normally aerated"
        "|free of focal abnormality]"
        "|{other} lung is [clear|well aerated|unremarkable]"
        "|No [focal|] abnormality [is seen|] in the {other} lung"
        "]"
    ),
}

NORMAL_RULES = {
    # Anatomy that no finding of the scene concerns.
    "mediastinum": (
        "["
        "[The|] mediastinal [contours are|contour is|silhouette is|and hilar contours are] "
        "[unremarkable|normal|within normal limits]"
        "|[The|] [hila are|hilar contours are|hilar structures are] "
        "[unremarkable|normal|within normal limits]"
        "|The trachea is [midline|central]"
        "|[The|] mediastinum is [midline|not widened|unremarkable|within normal limits]"
        "|[The|] aorta is [unremarkable|normal in contour|not dilated]"
        "|No mediastinal [widening|shift]"
        "|The aortic [contour|arch] is [normal|unremarkable]"
        "|[The|] "
        "[trachea and mediastinum|trachea and mediastinal structures|mediastinal structures] are "
        "[midline|central]"
        "|[The|] "
        "[hila and mediastinum|hilar and mediastinal structures|aorta and hila"
        "|mediastinum and hila|aorta and mediastinum]"
        " are [unremarkable|normal|within normal limits|normal in appearance]"
        "|[The|] [thoracic aorta|aortic knob|aortic contour] is "
        "[unremarkable|normal|within normal limits|not prominent]"
        "|Normal "
        "[mediastinal contours|mediastinum|hila|hilar contours|mediastinal and hilar contours]"
        "]"
    ),
    "abdomen": (
        "["
        "No [free air|free intraperitoneal air|pneumoperitoneum] [is seen|] [below|under|beneath]"
        " the [diaphragm|hemidiaphragms|right hemidiaphragm]"
        "|[The|] [visualized|imaged|included] upper abdomen is [unremarkable|normal]"
        "|[The|] [soft tissues|visualized soft tissues|overlying soft tissues] are "
        "[unremarkable|normal]"
        "|[The|] gastric bubble is [unremarkable|in normal position]"
        "|No [abnormality|acute abnormality] of the "
        "[upper abdomen|soft tissues|visualized upper abdomen]"
        "|[The|] [chest wall|chest wall soft tissue|superficial soft tissue] is "
        "[unremarkable|normal]"
        "]"
    ),
    "volume": (
        "["
        "Lung volumes are [normal|adequate|satisfactory|preserved]"
        "|[Good|Adequate|Satisfactory] [inspiration|inspiratory effort|lung volumes]"
        "]"
    ),
    # Technique, by view.
    "quality PA": (
        "["
        "PA [view|radiograph|projection] of the chest [was obtained|was reviewed|is presented|]"
        "|[A|Single|] frontal [view|radiograph|projection] of the chest "
        "[was obtained|was reviewed|]"
        "|[The|] [patient is not rotated|positioning is satisfactory|patient is well positioned]"
        "|[Upright|Erect] PA [view|radiograph|film] [of the chest|]"
        "]"
    ),
    "quality AP": (
        "["
        "[Portable|Single portable|A portable|Bedside] AP [view|radiograph|film|projection]"
        " of the chest [was obtained|was reviewed|]"
        "|[Single|A] AP [view|projection|radiograph] of the chest "
        "[was obtained|was reviewed|is presented]"
        "|[Portable|Bedside] [technique|AP technique] [accentuates|magnifies] "
        "[the cardiac silhouette|heart size]"
        "|[AP|Portable AP] [semi-upright|supine|semi-erect] [view|radiograph|film] [of the chest|]"
        "]"
    ),
    # Sentences about the study as a whole, which observe nothing or no change.
    "closing": (
        "["
        "Wet read by ___ [on|at] ___"
        "|Clinical correlation is [recommended|advised|suggested]"
        "|[Follow-up|Repeat] [radiographs|imaging] may be [considered|obtained] "
        "[if clinically indicated|if symptoms persist]"
        "|Results were [communicated to|relayed to] the [referring|clinical] team"
        "]"
    ),
    "no change": (
        "["
        "No [significant|relevant|substantial|] [interval|] change "
        "[compared to|compared with|from|since] {prior}"
        "|{comparing}, there is no [significant|relevant|substantial|] change"
        "|[Stable|Unchanged] [appearance|examination|chest radiograph] "
        "[compared to|compared with|since] {prior}"
        "]"
    ),
    "compared with": (
        "Comparison is made [to|with] "
        "[the prior study|the previous examination|the previous study|the prior study of ___"
        "|the radiograph of ___|a prior radiograph]"
    ),
    "notify": (
        "["
        "Dr. ___ was [notified|informed|contacted] "
        "[of these findings|of the above findings|by telephone] at [8|9|10|11|1|2|3|4]:"
        "[05|10|20|35|40|55] [a.m|p.m]."
        "|[Findings|Results|These findings] were [discussed with|communicated to|relayed to] "
        "[Dr. ___|the referring team|the clinical team] [by telephone|in person|by phone|]"
        "|[Clinical correlation|Correlation with clinical findings|Clinical follow-up] is "
        "[recommended|advised|suggested]"
        "|[Follow-up|Repeat] [radiographs|imaging|chest radiographs] may be [considered|of help] "
        "[if clinically indicated|as needed|if symptoms persist]"
        "|[Lateral view|PA and lateral views] may be [helpful|of help] for "
        "[further evaluation|confirmation]"
        "]"
    ),
}

HEADER_RULES = {
    # The examination and how it was made.
    "exam": (
        "[CHEST, {view words}|CHEST RADIOGRAPH ({view})|Chest {view words}|CHEST ({view words})"
        "|{view} chest radiograph|DX CHEST {view}]"
    ),
    "view PA": "[PA VIEW|PA|SINGLE VIEW|FRONTAL VIEW]",
    "view AP": "[PORTABLE AP|PORTABLE|AP VIEW|SINGLE VIEW|AP PORTABLE]",
    "technique PA": (
        "["
        "PA [radiograph|view|projection] of the chest"
        "|Single frontal view of the chest"
        "|Upright PA [chest radiograph|view of the chest]"
        "|Frontal chest radiograph"
        "]"
    ),
    "technique AP": (
        "["
        "Portable AP [radiograph|view|projection] of the chest"
        "|Single portable [AP|frontal] view of the chest"
        "|AP [chest radiograph|view of the chest], portable"
        "|Bedside AP chest radiograph"
        "]"
    ),
    # The prior study, without a date: reports are free of them.
    "comparison": (
        "[Chest radiograph ___|___|Prior chest radiograph from ___|Radiograph dated ___"
        "|Previous study of ___|Chest x-ray of ___]"
    ),
    "no comparison": "[None|None available|No prior studies available|None]",
    # Why it was made: {who} is the patient, {why} a complaint, never a finding.
    "indication": (
        "["
        "{who} with {why}"
        "|{who} with {why} and {why}"
        "|{who}, {why}"
        "|{why}"
        "|{who} [presenting with|admitted with|now with] {why}"
        "|{who} with {why}, evaluate for "
        "[acute process|interval change|acute cardiopulmonary process]"
        "|History of {why}"
        "]"
    ),
    "who": (
        "[{age} year old {person}|{age}-year-old {person}|{age} y/o {person}"
        "|___ year old {person}|{age}{sex}|{person}, age {age}]"
    ),
    "who F": "[woman|female|woman|lady]",
    "who M": "[man|male|man|gentleman]",
    "why": (
        "[cough|fever|chest pain|shortness of breath|dyspnea|dyspnea on exertion|weakness"
        "|altered mental status|hypoxia|tachycardia|fall|leukocytosis|sepsis|hypotension"
        "|weight loss|productive cough|hemoptysis|pleuritic chest pain|abdominal pain|syncope"
        "|fatigue|chills|malaise|palpitations|confusion|wheezing|back pain|respiratory distress"
        "|cardiac arrest|night sweats]"
    ),
}
