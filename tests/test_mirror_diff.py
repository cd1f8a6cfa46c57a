from hypothesis import given
from hypothesis import strategies as st

from lofty_async.mirror import Changes, diff
from lofty_async.mirror.diff import merged

STATES = st.dictionaries(st.integers(0, 9), st.text(max_size=1))


def test_says_what_was_added_changed_and_removed() -> None:
    changes = diff({1: "same", 2: "old", 3: "gone"}, {4: "new", 1: "same", 2: "other"})
    assert changes == Changes(added=(4,), changed=(2,), removed=(3,))


@given(STATES, STATES)
def test_turns_the_old_state_into_the_new(old: dict[int, str], new: dict[int, str]) -> None:
    changes = diff(old, new)
    kept = {key: value for key, value in old.items() if key not in changes.removed}
    assert kept | {key: new[key] for key in (*changes.added, *changes.changed)} == new


@given(STATES)
def test_a_state_does_not_differ_from_itself(state: dict[int, str]) -> None:
    assert diff(state, state) == Changes()


def test_changes_that_follow_each_other_are_one() -> None:
    assert merged([Changes((1,), (2,)), Changes((3,), removed=(4,))]) == Changes((1, 3), (2,), (4,))
