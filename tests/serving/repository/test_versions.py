"""Which versions are served, compared, gone back to: laws over all small sets of versions."""

from hypothesis import given
from hypothesis import strategies as st

from serving.repository.model_settings import CanarySettings, Latest, ModelSettings, Specific, VersionPolicy
from serving.repository.versions import Decisions, before, divide, fallbacks, kept, missing, wanted

VERSIONS = st.sets(st.integers(1, 9))
POLICIES: st.SearchStrategy[VersionPolicy] = st.one_of(
    st.builds(Latest, latest=st.integers(1, 4)),
    st.builds(Specific, specific=st.lists(st.integers(1, 9), min_size=1).map(tuple)),
    st.just("all"),
)
CANARIES = st.none() | st.builds(CanarySettings, version=st.just("next") | st.integers(1, 9), share=st.just(0.5))
DEFAULTS = st.none() | st.integers(1, 9)


def settings(canary: CanarySettings | None) -> ModelSettings:
    return ModelSettings(canary=canary)


def test_the_newest_n_are_wanted_newest_first() -> None:
    assert wanted(Latest(latest=2), {1, 10, 9}) == [10, 9]
    assert wanted(Specific(specific=(1, 3)), {1, 2, 3, 4}) == [3, 1]
    assert wanted("all", {2, 1}) == [2, 1]


def test_named_versions_that_are_not_there_are_missing() -> None:
    assert missing(Specific(specific=(1, 3)), {1, 2}) == [3]
    assert missing(Latest(latest=3), {1}) == []


def test_fallbacks_are_older_than_what_is_wanted_and_few() -> None:
    assert fallbacks(Latest(latest=2), range(1, 11)) == [8, 7, 6]
    assert fallbacks(Specific(specific=(3,)), range(1, 11)) == []
    assert fallbacks("all", range(1, 11)) == []


def test_a_rollback_goes_to_the_nearest_older_version() -> None:
    assert before(Latest(latest=1), 5, {1, 3, 5, 7}) == [3, 1]
    assert before(Specific(specific=(1, 5)), 5, {1, 3, 5, 7}) == [1]


@given(POLICIES, VERSIONS, VERSIONS)
def test_what_answers_never_becomes_nothing_while_a_folder_is_there(
    policy: VersionPolicy, ready: set[int], there: set[int]
) -> None:
    staying = kept(policy, ready, there)
    assert staying <= ready
    assert bool(staying) == bool(ready and there)


@given(POLICIES, VERSIONS, VERSIONS)
def test_what_is_wanted_and_answers_stays(policy: VersionPolicy, ready: set[int], there: set[int]) -> None:
    assert set(wanted(policy, there)) & ready <= kept(policy, ready, there)


@given(CANARIES, VERSIONS, VERSIONS, DEFAULTS, VERSIONS, VERSIONS)
def test_a_canary_never_leaves_a_model_without_an_answer(
    canary: CanarySettings | None,
    there: set[int],
    ready: set[int],
    default: int | None,
    held: set[int],
    promoted: set[int],
) -> None:
    open_to = there - held
    division = divide(settings(canary), Decisions(held, promoted), there, ready, default)
    assert division.stable <= open_to
    assert division.canary is None or division.canary in division.on_trial & there
    assert not division.stable & division.on_trial
    if division.canary is None:
        assert division.stable == open_to or canary is None or canary.version == "next"
    if canary is not None and canary.version == "next" and open_to:
        assert division.stable


def test_next_is_what_is_newer_than_the_version_that_answers() -> None:
    on_next = settings(CanarySettings(version="next"))
    division = divide(on_next, Decisions(), {1, 2, 3}, {1, 2}, 1)
    assert (division.canary, division.on_trial, division.stable) == (3, {2, 3}, {1})
    assert divide(on_next, Decisions(), {1, 2, 3}, set(), None).canary is None
    assert divide(on_next, Decisions(held={3}), {1, 2, 3}, {2}, 2).canary is None
    assert divide(on_next, Decisions(), {3}, {1}, 1).stable == {3}, "what answers is gone: nothing to compare with"


def test_a_named_canary_is_none_once_promoted_or_alone() -> None:
    on_two = settings(CanarySettings(version=2))
    assert divide(on_two, Decisions(), {1, 2}, set(), None).canary == 2
    assert divide(on_two, Decisions(promoted={2}), {1, 2}, set(), None).canary is None
    assert divide(on_two, Decisions(), {2}, set(), None).stable == {2}
    assert divide(on_two, Decisions(), {1}, set(), None).canary is None


def test_answering_with_a_version_turns_away_from_the_newer_ones_of_now() -> None:
    decisions = Decisions()
    decisions.answer_with(2, {1, 2, 3})
    assert decisions.held == {3}
    decisions.answer_with(1, {1, 2, 3})
    assert decisions.held == {2, 3}
    decisions.answer_with(3, {1, 2, 3, 4})
    assert decisions.held == {2, 4}
