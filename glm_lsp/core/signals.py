"""Every signal of the ranking: what it looks at, why it tells something, and how much it weighs.

A signal gives a definition a strength from 0 to 1; a definition's score is the sum of strength times weight,
on the scale of a logarithm of odds. The weights were fitted (logistic regression, then rounded) on packages
that no figure is reported for; `python -m tests.bench.bench_recall` shows what each contributes: the recall
with the signal off. To add one: a row here, and in `rank` the function that finds its strengths.
"""

from __future__ import annotations

from collections.abc import Mapping

NEAR = "near"
NAMED = "named"
EQUAL = "equal"
IMPORTED = "imported"
AWAITED = "awaited"
SIBLING = "sibling"
HINT = "hint"
MEMBER = "member"
KIN = "kin"
MODULE = "module"
PACKAGE = "package"
OWN = "own"
NAMESAKE = "namesake"
RESEMBLING = "resembling"
WALK = "walk"
BESIDE = "beside"
CENTRAL = "central"
LIKENESS = "likeness"
PAIR = "pair"
RECENT = "recent"
CHANGED = "changed"

WEIGHTS: Mapping[str, float] = {
    NEAR: 4.0,
    # Local evidence: the name stands near the cursor, and imports, scopes, classes or the declared type of
    # its receiver say what it means. Halves within `NEAR_LINES` lines, grows with repeated use.
    NAMED: 6.0,
    # The words of a task name it; in a completion there is no task.
    EQUAL: 2.0,
    # The name stands near the cursor and is merely equal: the more files know it, the less it says. Tells
    # something where code is written before its import.
    IMPORTED: 1.0,
    # The file imports it.
    AWAITED: 4.0,
    # The file imports it and does not use it yet: who imports something is about to use it.
    SIBLING: 1.3,
    # Other functions of the file use it, those of the same class twice as much.
    HINT: 0.6,
    # Others of the file use a member of that name whose owner is unknown, and the repository has only one, or
    # one of a class that is called like what stands before the dot.
    MEMBER: 4.0,
    # It is a public member of a class that is needed: what code does with a value is call its methods.
    KIN: 0.7,
    # It is a public member of a class that the file imports or its functions use.
    MODULE: 1.0,
    # It is defined in a module that the file imports as a whole.
    PACKAGE: 1.5,
    # It is defined in another file of the same package, which needs no import of it.
    OWN: 1.0,
    # The file itself defines it, or the class around the cursor.
    NAMESAKE: 1.5,
    # Functions of the same name elsewhere use it: overrides and implementations of one interface are alike.
    RESEMBLING: 2.0,
    # Functions use it whose names have words in common with that of the one being written.
    WALK: 3.8,
    # Where a random walk with restart at this file ends: over what it imports to those who import that, too,
    # and on to what they use. Centrality, personalised to the place.
    BESIDE: 2.0,
    # Files of the same folder use it.
    CENTRAL: 1.2,
    # Many files import the file that defines it, and many know its name: a guess where there is no evidence.
    LIKENESS: 2.0,
    # Its name has words in common with the function being written, its parameters or its file.
    PAIR: 0.7,
    # It is defined in the file that this one tests, or used by the one that tests this one.
    RECENT: 0.5,
    # Its file was edited or looked at lately.
    CHANGED: 0.5,
    # Its file often changes in the same commit as this one.
}
