import pytest

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.kmer import frame_kmers
from biolm_ray.tokenization.tokenizer import TokenizerSettings


def framed(text, size=3, center=None):
    kmers, index = frame_kmers(list(text), size, center)
    assert index == (-1 if center is None else kmers.index(center))
    return " ".join(kmers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acgtga", "acg tga"),
        ("acgtg", "acg tg"),
        ("a", "a"),
        ("acgtsacgt", "acg t s acg t"),
        ("sacg", "s acg"),
        ("acgsstt", "acg s s tt"),
        ("acxgtga", "acxg tga"),
        ("axcxgt", "axcxg t"),
        ("axxcg", "axxcg"),
        ("acgxtga", "acg x tga"),
        ("xacg", "x acg"),
        ("acgtx", "acg t x"),
        ("acgtxsa", "acg t x s a"),
        ("acgxx", "acg x x"),
    ],
)
def test_kmers_keep_to_frames_and_markers(text, expected):
    assert framed(text) == expected


@pytest.mark.parametrize(
    ("text", "center", "expected"),
    [
        ("acgtTacgt", "T", "a cgt T acg t"),
        ("acgtsacgt", "s", "a cgt s acg t"),
        ("acgtsacgtTac", "T", "a cgt s a cgt T ac"),
        ("axcgtTaxc", "T", "a x cgt T axc"),
        ("acgxtTa", "T", "ac gxtT a".replace("gxtT", "gxt T").replace("ac gxt", "a cgxt")),
        ("TacgT", "T", "T acg T"),
    ],
)
def test_a_centre_token_frames_outward(text, center, expected):
    assert framed(text, center=center) == expected


def test_kmers_are_entries_with_their_letters_as_offsets():
    settings = TokenizerSettings(
        encoding="3mer", token_separator=",", replacements={"gej": "x"}, center_token="S"
    )
    tokenizer = fit(["a,gej,c,g,t,S,a,c,g"], TokenizationConfig(min_frequency=1), settings)
    encoded = tokenizer.encode(["a,gej,c,g,t,S,a,c,g,t"])[0]
    assert tokenizer.tokens(encoded.token_ids) == ["a", "x", "cgt", "S", "acg", "[UNK]"]
    assert tokenizer.num_letters(encoded.token_ids).tolist() == [1, 1, 3, 1, 3, 3]
    assert encoded.center == 3
    assert encoded.num_unknown == 1


@pytest.mark.parametrize("size", range(1, 10))
def test_every_size_from_one_to_nine_is_an_encoding(size):
    settings = TokenizerSettings(encoding=f"{size}mer")
    tokenizer = fit(["acgtacgtacg"], TokenizationConfig(min_frequency=1), settings)
    tokens = tokenizer.tokens(tokenizer.encode(["acgtacgtacg"])[0].token_ids)
    assert tokens == ["acgtacgtacg"[i : i + size] for i in range(0, 11, size)]
