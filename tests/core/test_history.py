"""What changes together: shares of commits, large commits and single coincidences left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.history import MOST_FILES, MOST_PARTNERS, History

PAIR = frozenset({"a.py", "b.py"})


@pytest.mark.parametrize(
    ("commits", "partners"),
    [
        ([], {}),
        ([PAIR], {}),
        ([PAIR, PAIR], {"b.py": 1.0}),
        ([PAIR, PAIR, frozenset({"a.py", "c.py"})], {"b.py": 2 / 3}),
        ([PAIR | {"c.py"}, PAIR], {"b.py": 1.0}),
        ([frozenset({"a.py"})] * 9, {}),
        ([frozenset({"a.py", *(f"{n}" for n in range(MOST_FILES))})] * 9, {}),
    ],
)
def test_partners(commits: list[frozenset[str]], partners: dict[str, float]) -> None:
    assert History(commits).partners("a.py") == pytest.approx(partners)


@given(st.lists(st.frozensets(st.sampled_from([f"{n}.c" for n in range(99)]), max_size=40)))
def test_shares_are_shares(commits: list[frozenset[str]]) -> None:
    history = History(commits)
    for path in {path for commit in commits for path in commit}:
        found = history.partners(path)
        assert path not in found and len(found) <= MOST_PARTNERS
        assert all(0 < share <= 1 + 1e-9 for share in found.values())
        assert list(found.values()) == sorted(found.values(), reverse=True)
