"""How far scores agree with people's: judged pairs, rows that score them, statistics, tables.

    files, tasks -> Judged -> compare(rows) -> report

Imports run that way too: `judged` and `statistics` know of no model, `rows` of no table.
"""
