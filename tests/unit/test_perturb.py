import numpy as np
import pytest

from biolm_ray.errors import ConfigError, DataError
from biolm_ray.inference.perturb import (
    EQUALS_ORIGINAL,
    Source,
    build_variants,
    plan_insertions,
    plan_masks,
    plan_removals,
    plan_substitutions,
)
from biolm_ray.inference.replacements import replacement_ids, unused_replacements

VOCABULARY = {
    text: {"": token_id} for token_id, text in enumerate(["a", "c", "g", "t", "gej"], start=7)
}


def views(edits) -> list[list[int]]:
    return build_variants(edits, np.arange(len(edits.positions))).token_ids.tolist()


def test_removal_from_a_sequence_cut_on_the_right_pulls_in_the_next_token() -> None:
    edits = plan_removals(Source(token_ids=np.array([1, 2, 3, 4, 5]), room=3))
    assert edits.positions.tolist() == [0, 1, 2]
    assert views(edits) == [[2, 3, 4], [1, 3, 4], [1, 2, 4]]


def test_removal_from_a_sequence_cut_on_the_left_pulls_in_the_token_before() -> None:
    edits = plan_removals(Source(token_ids=np.array([1, 2, 3, 4, 5]), room=3, cut_side="left"))
    assert edits.positions.tolist() == [2, 3, 4]
    assert views(edits) == [[2, 4, 5], [2, 3, 5], [2, 3, 4]]


FOUR_OR_NINE = np.isin(np.arange(10), [4, 9])


def test_a_centred_crop_follows_its_centre_when_a_token_before_it_goes() -> None:
    source = Source(token_ids=np.array([1, 2, 3, 4, 5, 6, 7]), room=3, is_center=FOUR_OR_NINE)
    edits = plan_removals(source)
    assert edits.positions.tolist() == [2, 3, 4]
    assert views(edits)[::2] == [[2, 4, 5], [3, 4, 6]]


@pytest.mark.parametrize(
    ("token_ids", "cut_side", "view"),
    [
        ([1, 2, 3, 4, 5, 6, 7], "right", [1, 2, 3]),
        ([1, 2, 3, 4, 5, 6, 7], "left", [5, 6, 7]),
        ([1, 2, 3, 4, 5, 9, 7], "right", [5, 9, 7]),
        ([1, 2, 3, 4, 5, 4, 7], "left", [5, 4, 7]),
    ],
)
def test_without_its_centre_a_sequence_is_cropped_as_any_that_lacks_it(
    token_ids, cut_side, view
) -> None:
    source = Source(
        token_ids=np.array(token_ids), room=3, cut_side=cut_side, is_center=FOUR_OR_NINE
    )
    edits = plan_removals(source)
    assert edits.positions[1] == 3
    assert views(edits)[1] == view


def test_a_new_token_that_is_a_centre_takes_the_crop_with_it() -> None:
    source = Source(token_ids=np.array([1, 2, 3, 4, 5, 6, 7]), room=5, is_center=FOUR_OR_NINE)
    edits = plan_substitutions(source, {3: (9, 8), 5: (9,)})
    assert views(edits) == [[1, 2, 9, 4, 5], [2, 8, 4, 5, 6], [2, 3, 4, 9, 6]]


def test_a_mask_leaves_the_view_where_it_is() -> None:
    source = Source(token_ids=np.array([1, 2, 3, 4, 5, 6, 7]), room=3, is_center=FOUR_OR_NINE)
    assert views(plan_masks(source, 0)) == [[0, 4, 5], [3, 0, 5], [3, 4, 0]]


def test_a_removed_token_takes_its_specifiers_with_it() -> None:
    specifiers = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    edits = plan_removals(Source(token_ids=np.array([5, 5, 6]), specifiers=specifiers, room=9))
    variants = build_variants(edits, np.array([1]))
    assert variants.specifiers is not None
    assert variants.specifiers.tolist() == [[[1.0], [3.0]]]
    assert edits.same_as.tolist() == [0, 1, 2]


def test_equal_neighbours_are_removed_only_once() -> None:
    edits = plan_removals(Source(token_ids=np.array([1, 1, 2, 2, 2, 1]), room=9))
    assert edits.same_as.tolist() == [0, 0, 2, 2, 2, 5]


def test_a_removal_that_pulls_in_an_equal_token_changes_nothing() -> None:
    edits = plan_removals(Source(token_ids=np.array([1, 2, 2, 2]), room=3))
    assert edits.same_as.tolist() == [0, EQUALS_ORIGINAL, EQUALS_ORIGINAL]


def test_the_only_token_can_be_removed() -> None:
    edits = plan_removals(Source(token_ids=np.array([4]), room=3, is_center=FOUR_OR_NINE))
    assert views(edits) == [[]]


def test_a_mask_keeps_the_specifiers() -> None:
    specifiers = np.array([[1.0], [2.0]], dtype=np.float32)
    edits = plan_masks(Source(token_ids=np.array([5, 6]), specifiers=specifiers, room=9), 4)
    variants = build_variants(edits, np.arange(2))
    assert variants.token_ids.tolist() == [[4, 6], [5, 4]]
    assert variants.specifiers is not None
    assert variants.specifiers[:, :, 0].tolist() == [[1.0, 2.0], [1.0, 2.0]]


def test_a_token_replaced_by_itself_is_new_only_without_its_specifiers() -> None:
    specifiers = np.array([[1.0], [0.0]], dtype=np.float32)
    source = Source(token_ids=np.array([7, 7]), specifiers=specifiers, room=9)
    edits = plan_substitutions(source, {7: (7,)}, undecorate=True)
    assert edits.positions.tolist() == [0, 0, 1]
    assert edits.undecorated.tolist() == [False, True, False]
    assert edits.same_as.tolist() == [EQUALS_ORIGINAL, 1, EQUALS_ORIGINAL]


def test_a_window_of_tokens_is_removed_or_masked_at_once() -> None:
    source = Source(token_ids=np.array([1, 2, 3, 4]), room=9)
    assert views(plan_removals(source, 3)) == [[4], [1]]
    assert views(plan_masks(source, 0, 3)) == [[0, 0, 0, 4], [1, 0, 0, 0]]
    assert views(plan_removals(source, 5)) == []


def test_periodic_neighbours_make_equal_windows() -> None:
    edits = plan_removals(Source(token_ids=np.array([1, 2, 1, 2, 3]), room=9), 2)
    assert views(edits) == [[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 1]]
    assert edits.same_as.tolist() == [0, 0, 0, 3]


def test_saturation_puts_every_choice_in_the_place_of_a_token() -> None:
    source = Source(token_ids=np.array([1, 2, 5]), room=9)
    edits = plan_substitutions(source, {1: (2, 3), 2: (1, 3)})
    assert edits.positions.tolist() == [0, 0, 1, 1]
    assert views(edits) == [[2, 2, 5], [3, 2, 5], [1, 1, 5], [1, 3, 5]]


def test_a_token_is_put_in_before_every_other_and_behind_the_last() -> None:
    edits = plan_insertions(Source(token_ids=np.array([1, 2]), room=9), (7, 1))
    assert edits.positions.tolist() == [0, 0, 1, 1, 2, 2]
    rows = [[7, 1, 2], [1, 1, 2], [1, 7, 2], [1, 1, 2], [1, 2, 7], [1, 2, 1]]
    assert views(edits) == rows
    assert edits.same_as.tolist() == [0, 1, 2, 1, 4, 5]


def test_a_token_put_in_carries_no_specifiers_and_pushes_the_last_out_of_a_full_view() -> None:
    specifiers = np.array([[1.0], [2.0]], dtype=np.float32)
    source = Source(token_ids=np.array([1, 2]), specifiers=specifiers, room=2)
    edits = plan_insertions(source, (7,))
    variants = build_variants(edits, np.arange(3))
    assert variants.token_ids.tolist() == [[7, 1], [1, 7], [1, 2]]
    assert variants.specifiers is not None
    assert variants.specifiers[:, :, 0].tolist() == [[0.0, 1.0], [1.0, 0.0], [1.0, 2.0]]
    assert edits.same_as.tolist() == [0, 1, EQUALS_ORIGINAL]


def test_building_a_row_that_is_not_planned_is_refused() -> None:
    edits = plan_removals(Source(token_ids=np.array([1, 2]), room=9))
    with pytest.raises(DataError, match="row 2 is outside a plan of 2 edits"):
        build_variants(edits, np.array([0, 2]))


def test_a_replacement_dictionary_becomes_ids() -> None:
    replacements = {"a": ("g", "t", "g"), "gej": ("t",)}
    assert replacement_ids(replacements, VOCABULARY) == {7: (9, 10), 11: (10,)}
    assert replacement_ids({}, VOCABULARY) == {}


def test_a_token_at_the_start_is_replaced_by_one_that_is_spelled_for_the_start() -> None:
    readable = {"ac": {"": 1, "^": 2}, "g": {"": 3, "^": 4}, "t": {"": 5}}
    assert replacement_ids({"ac": ("g", "t")}, readable) == {1: (3, 5), 2: (4, 5)}


def test_an_unknown_new_token_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"'gey' is not in the vocabulary .* nearest is 'gej'"):
        replacement_ids({"a": ("g", "gey")}, VOCABULARY)


def test_keys_that_match_no_token_are_left_out_and_listed() -> None:
    replacements = {"a": ("g",), "N": ("t",)}
    assert replacement_ids(replacements, VOCABULARY) == {7: (9,)}
    assert unused_replacements(replacements, VOCABULARY) == ("N",)


def test_a_dictionary_without_a_key_of_the_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of its 1 keys is in the vocabulary"):
        replacement_ids({"N": ("a",)}, VOCABULARY)
