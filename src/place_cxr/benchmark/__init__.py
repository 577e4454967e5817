"""Methods x tasks x shares x seeds, each cell once: a plan, rows that workers fill, tables of what
is there.
"""
