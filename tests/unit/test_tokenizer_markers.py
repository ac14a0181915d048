from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.markers import NO_UTR3
from biolm_ray.tokenization.tokenizer import TokenizerSettings

TEXT = "a,s,c,x,g,e,t,e,t"


def tokens(encoding="atomic", text=TEXT, **settings):
    read = TokenizerSettings(encoding=encoding, token_separator=",", **settings)
    tokenizer = fit([TEXT], TokenizationConfig(min_frequency=1), read)
    return tokenizer.tokens(tokenizer.encode([text])[0].token_ids)


def test_markers_are_dropped_on_request():
    assert tokens() == list("ascxgetet")
    assert tokens(drop_markers=True) == list("acgtt")


def test_the_3utr_is_what_follows_the_first_cds_end():
    assert tokens(region="utr3") == list("tet")


def test_outside_the_3utr_is_what_precedes_the_first_cds_end():
    assert tokens(region="outside_utr3") == list("ascxg")


def test_dropping_markers_and_cutting_a_region_add_up():
    assert tokens(region="outside_utr3", drop_markers=True) == list("acg")


def test_markers_act_before_kmers_and_bpe():
    assert tokens("3mer", region="outside_utr3") == ["a", "s", "cxg"]
    assert tokens("3mer", drop_markers=True) == ["acg", "tt"]
    assert "".join(tokens("bpe", drop_markers=True, region="utr3")) == "tt"


def test_markers_count_after_replacement():
    text = "a,stop,t,t"
    assert tokens(text=text, region="utr3", replacements={"stop": "e"}) == ["t", "t"]


def test_without_a_cds_end_there_is_no_3utr_and_all_lies_outside_it():
    read = TokenizerSettings(encoding="atomic", token_separator=",", region="utr3")
    tokenizer = fit([TEXT], TokenizationConfig(min_frequency=1), read)
    no_end, nothing = tokenizer.encode(["a,c", "e"])
    assert no_end.problem == NO_UTR3
    assert "no token 'e' for the end of the CDS" in NO_UTR3
    assert "nothing of the sequence is left" in nothing.problem
    assert tokens(text="a,c", region="outside_utr3") == ["a", "c"]


def test_specifiers_stay_with_their_tokens():
    read = TokenizerSettings(
        encoding="atomic",
        token_separator=",",
        specifier_separator="#",
        drop_markers=True,
        region="utr3",
    )
    text = "a#1,e#2,x#3,c#4,g"
    encoded = fit([text], TokenizationConfig(min_frequency=1), read).encode([text])[0]
    assert encoded.specifiers.tolist() == [[4], [0]]
