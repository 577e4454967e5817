"""Heart, bones, tubes and objects, and the short name of any finding in a later sentence.

The notation is that of the package ``phrases``.
"""

from __future__ import annotations

BODY_RULES = {
    # The heart. A doubt blames the projection, which magnifies it.
    "Cardiomegaly": (
        "["
        "m {sev} "
        "["
        "cardiomegaly"
        "|cardiomegaly"
        "|cardiac enlargement"
        "|enlargement of the heart"
        "|enlargement of the cardiac silhouette"
        "]"
        "]"
    ),
    "Cardiomegaly own": (
        "["
        "[The heart|The cardiac silhouette|The cardiac shadow|The cardiomediastinal silhouette]"
        " is {sev ly} enlarged"
        "|Heart size is {sev ly} increased"
        "|[The heart|The cardiac silhouette] is {sev ly} enlarged, [with|the] [|a]"
        " cardiothoracic ratio [of|of about|of approximately] {ratio}"
        "|{e bare} with [a|an estimated] cardiothoracic ratio of {ratio}"
        "|{e bare}"
        "]"
    ),
    "Cardiomegaly doubt": (
        "["
        "[Borderline|Upper limits of normal or borderline enlarged] "
        "[heart size|cardiac size|cardiac silhouette]"
        "|[The heart|Heart size|The cardiac silhouette] "
        "["
        "is borderline"
        "|may be mildly enlarged"
        "|is possibly enlarged"
        "|is at the upper limit of normal or slightly enlarged"
        "]"
        "|[Apparent|Possible] [mild|slight] cardiomegaly, [which may be|possibly] "
        "[projectional|accentuated by technique]"
        "]"
    ),
    "Cardiomegaly name": "[cardiomegaly|cardiomegaly|cardiac enlargement|enlargement of the heart]",
    "Cardiomegaly absent": (
        "["
        "[The heart|Heart|Cardiac silhouette|The cardiac silhouette] is "
        "[normal in size|normal size|not enlarged|within normal limits|of normal size"
        "|within normal limits in size|unremarkable]"
        "|[Heart size|Cardiac size|The heart size|The size of the heart] is "
        "[normal|within normal limits|unremarkable|not enlarged]"
        "|Normal [heart size|cardiac silhouette|cardiac size]"
        "|["
        "[The|] cardiomediastinal silhouette is"
        "|[The|] [cardiac and mediastinal silhouettes|cardiomediastinal contours] are"
        "]"
        " [normal|within normal limits|unremarkable]"
        "]"
    ),
    # Ribs: {rib} is a number such as "6th", or two of them.
    "Rib Fracture": (
        "["
        "a [|minimally displaced|displaced|cortical|acute] fracture of the {side} {rib} rib"
        "|a [|displaced] {side} {rib} rib fracture"
        "|a fracture [in|of] the {side} {rib} rib"
        "|a fractured {side} {rib} rib"
        "]"
    ),
    "Rib Fracture own": (
        "["
        "[Cortical|Focal cortical] [discontinuity|irregularity|step-off] of the {side} {rib} rib "
        "[consistent with|compatible with|representing|in keeping with] [a|an acute] fracture"
        "|The {side} {rib} rib is fractured"
        "]"
    ),
    "Rib Fracture doubt": (
        "["
        "[Subtle|Equivocal|Questionable] [irregularity|cortical irregularity|contour deformity]"
        " of the {side} {rib} rib [may represent|could represent|raises the possibility of] "
        "[a fracture|a nondisplaced fracture|an age-indeterminate fracture]"
        "]"
    ),
    "Rib Fracture name": (
        "[[acute |displaced |]rib fracture|fracture|acute fracture|displaced fracture"
        "|[acute |]osseous abnormality|bony abnormality]"
    ),
    "Rib Fracture absent": (
        "["
        "[The|] "
        "[bones are|osseous structures are|bony structures are|bony thorax is"
        "|visualized bones are|imaged skeleton is|ribs are]"
        " [intact|without acute fracture|unremarkable|grossly intact]"
        "|No acute [bony|osseous|skeletal] [abnormality|findings|lesion]"
        "|[No|There is no] [acute|displaced] rib fracture [seen|identified|]"
        "]"
    ),
    "Rib Fracture several": (
        "["
        "p [|displaced|acute] fractures of the {side} {rib} ribs"
        "|p {side} {rib} rib fractures"
        "|p fractures [involving|through] the {side} {rib} ribs"
        "]"
    ),
    # Objects: {object} is the word for the kind, {object place} where it projects.
    "Foreign Object": "[a {object}|a {object}|a [radiopaque|metallic] {object}]",
    "Foreign Object several": "[p {object}|p {object}|p [several|multiple|radiopaque] {object}]",
    "Foreign Object own": (
        "["
        "{e bare} [projecting over|overlying|projected over] {object place}"
        "|There {is} {e full} [projecting over|overlying|projected over] {object place}"
        "|[A radiopaque|A metallic|A radiodense] [foreign body|foreign object|density] "
        "[overlies|projects over] {object place}, [consistent with|compatible with] {plain}"
        "]"
    ),
    "Foreign Object doubt": (
        "["
        "[Questionable|Possible|Faint|Subtle] [metallic|radiodense|radiopaque] density "
        "[projecting over|overlying] {object place}, "
        "[possibly|which may represent|which could be] {plain}"
        "|[Possible|Questionable] [radiopaque|metallic] foreign body [projecting over|overlying] "
        "{object place}"
        "]"
    ),
    "Foreign Object name": (
        "[radiopaque foreign body|foreign body|radiopaque foreign object|retained foreign body]"
    ),
    "Foreign Object plain": "a {object}",
    "Foreign Object several plain": "p {object}",
    # Words for each kind of object, and where the ones in the midline lie.
    "object coin": "[coin|coin|coin-shaped foreign body]",
    "object electrode": "[electrode|ECG electrode|monitoring electrode|monitoring lead]",
    "object surgical clips": "[surgical clips|surgical clips|metallic clips|clips]",
    "object bullet fragment": "[bullet fragment|bullet fragment|ballistic fragment]",
    "object necklace": "[necklace|necklace|necklace chain]",
    "over coin": "the [mediastinum|midline|midline of the chest]",
    "over necklace": "the [upper chest|upper mediastinum|thoracic inlet]",
}

DEVICE_RULES = {
    # Pacemakers. A sentence of their own may speak of generator or leads.
    "Pacemaker": (
        "["
        "a {side} [chest wall|pectoral] "
        "[pacemaker|pacemaker|pacing device|pacer|cardiac pacing device]"
        "|a {side}[|-sided] [pacemaker|pacer|pacing device]"
        "|a [cardiac|permanent|] [pacemaker|pacer|pacing device] "
        "[in the {side} chest wall|over the {side} chest|on the {side}]"
        "]"
    ),
    "Pacemaker own": (
        "["
        "{e full} is [in place|present|noted]"
        "|{e bare} in place"
        "|A pacer generator [projects over|overlies] the {side} [chest|hemithorax]"
        "[, with its leads over the heart|]"
        "|[Pacemaker|Pacer] leads [course|extend|run] from a {side} [chest wall|pectoral]"
        " generator"
        "]"
    ),
    "Pacemaker name": "[pacemaker|pacing device|cardiac pacing device]",
    # Central venous lines: {tip} says where the tip lies.
    "Central Line": (
        "["
        "a {side}[|-sided] "
        "[central venous catheter|central venous catheter|central line|central catheter|CVC"
        "|central venous line]"
        "|a [central venous catheter|central line|CVC] on the {side}"
        "]"
    ),
    "Central Line own": (
        "["
        "{e full} [terminates|ends] {tip}"
        "|{e full} [has its tip|is seen with its tip|is in place with tip] {tip}"
        "|[The tip of|Tip of] {e full} [is|lies|projects] {tip}"
        "|{e bare}[, tip| with tip| with its tip] {tip}"
        "|{e full} is in place, [its|the] tip [projecting|lying|] {tip}"
        "]"
    ),
    "Central Line name": (
        "[central venous catheter|central line|central venous line|vascular catheter]"
    ),
    # Tubes in the trachea; "withdraw" follows when the tip is in a bronchus.
    "Endotracheal Tube": "a [endotracheal tube|endotracheal tube|ET tube|ETT|tracheal tube]",
    "Endotracheal Tube own": (
        "["
        "[The|] [endotracheal tube|ET tube|ETT] [terminates|ends|is|lies|sits] {tip}"
        "|[The|] tip of the [endotracheal tube|ET tube|ETT] [is|lies|projects] {tip}"
        "|[Endotracheal tube|ET tube|ETT] tip [is|] {tip}"
        "|{e full} is [in place|present|seen] with [its|the] tip {tip}"
        "|The patient is intubated[,| with] the tube tip {tip}"
        "]"
    ),
    "Endotracheal Tube name": "[endotracheal tube|ET tube|tracheal tube]",
    "Endotracheal Tube withdraw": (
        "["
        "[Withdrawal|Retraction|Repositioning] [of the tube|] is [recommended|advised|suggested]"
        "|Recommend [withdrawal|retraction|repositioning][ by 2 to 3 cm| of the tube|]"
        "|The tube should be [withdrawn|pulled back|retracted]"
        "[ by approximately 2 cm| by a few centimeters|]"
        "]"
    ),
}

# Short names: of a finding that the report has named, or that the prior study showed.
SHORT_NAME_RULES = {
    # The pleura and the lungs.
    "Pleural Effusion": "{side} [pleural effusion|effusion]",
    "Pleural Effusion several": "bilateral [pleural effusions|effusions]",
    "Pneumothorax": "{side} [pneumothorax|pneumothorax|apical pneumothorax]",
    "Pneumothorax several": "bilateral pneumothoraces",
    "Consolidation": "{of} [consolidation|opacity|airspace disease|airspace opacity]",
    "Consolidation several": "{of} [opacities|airspace opacities|consolidations]",
    "Atelectasis": "{of} [atelectasis|atelectatic change|volume loss]",
    "Atelectasis several": "{of} [atelectasis|atelectatic change|volume loss]",
    "Edema": "[pulmonary edema|interstitial edema|edema]",
    "Cardiomegaly": "[cardiomegaly|cardiac enlargement|enlargement of the heart]",
    "Nodule": "{of} {lump}",
    "Emphysema": "[emphysema|emphysematous change]",
    # Bones, devices, objects.
    "Rib Fracture": "{side} {rib} rib fracture",
    "Pacemaker": "{side} [pacemaker|pacing device]",
    "Central Line": "{side} [central venous catheter|central line|central venous line]",
    "Endotracheal Tube": "[endotracheal tube|ET tube]",
    "Foreign Object": "{object}",
}
