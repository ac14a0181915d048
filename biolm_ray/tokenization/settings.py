"""What a tokenizer has to know besides its vocabulary."""

import string
from functools import cache
from typing import Literal

from pydantic import Field

from biolm_ray.config.schema import Section
from biolm_ray.errors import ConfigError

LetterCase = Literal["keep", "upper", "lower"]
Nucleotides = Literal["keep", "rna", "dna"]
NUCLEOTIDES = "ACGTUNacgtun"
MOST_SPECIFIERS = 10_000
"""Numbers of a token, as a tokenizer that comes from anybody may ask for."""
SPECIAL_TOKENS = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "[BOS]", "[EOS]")


@cache
def letter_mapping(letter_case: LetterCase, nucleotides: Nucleotides) -> dict[int, str]:
    """What becomes of the letters a to z and A to Z, for `str.translate`; those left are absent."""
    letters = string.ascii_letters
    mapped = {"keep": letters, "upper": letters.upper(), "lower": letters.lower()}[letter_case]
    pairs = {"keep": ("", ""), "rna": ("Tt", "Uu"), "dna": ("Uu", "Tt")}[nucleotides]
    mapped = mapped.translate(str.maketrans(*pairs))
    return {ord(old): new for old, new in zip(letters, mapped, strict=True) if old != new}


class LearntFrom(Section):
    """Where a vocabulary comes from.

    Attributes:
        digest: Of the content of the data.
        unknown_share: Of the tokens there, those that the vocabulary does not hold.
    """

    digest: str
    unknown_share: float


class Fitting(Section):
    """The settings that a vocabulary was learnt with, besides how texts are read."""

    vocabulary_size: int
    min_frequency: int
    max_token_length: int
    sample_size: int | None


class TokenizerSettings(Section):
    """How a sequence text is read; saved beside the vocabulary as tokenization.json.

    Attributes:
        encoding: atomic, bpe, or 1mer to 9mer.
        token_separator: Between the tokens of a text; None when each character is one.
        specifier_separator: Between a token and its floats; atomic only.
        num_specifiers: Most floats of a decorated token, found in fitting.
        replacements: Tokens (texts, without a separator) that become others before all else.
        center_token: As in the file or as replaced.
        drop_markers: Whether the tokens `e`, `s` and `x` are dropped.
        region: The part of a transcript that is kept, as told by its marker `e`.
        letter_case: What becomes of letters that are not replaced. Where tokens are separated,
            those of several letters are kept but for those of nucleotides only.
        nucleotides: Whether T is read as U ("rna") or U as T ("dna"), in the same tokens.
        learnt_from: The data of the vocabulary, if that is known and read as it was then.
        fitting: What it was learnt with, if that is known.
    """

    encoding: str = Field(pattern=r"^(atomic|bpe|[1-9]mer)$")
    token_separator: str | None = None
    specifier_separator: str | None = None
    num_specifiers: int = Field(default=0, ge=0, le=MOST_SPECIFIERS)
    replacements: dict[str, str] = Field(default_factory=dict)
    center_token: str | None = None
    drop_markers: bool = False
    region: Literal["whole", "utr3", "outside_utr3"] = "whole"
    letter_case: LetterCase = Field(default="keep", exclude_if=lambda value: value == "keep")
    nucleotides: Nucleotides = Field(default="keep", exclude_if=lambda value: value == "keep")
    learnt_from: LearntFrom | None = Field(default=None, exclude_if=lambda value: value is None)
    fitting: Fitting | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def letter_mapping(self) -> dict[int, str]:
        """What becomes of single letters, but for replaced ones; see `letter_mapping`."""
        return letter_mapping(self.letter_case, self.nucleotides)

    def mapped(self, token: str) -> str:
        """A token between separators with its letters mapped."""
        mapping = self.letter_mapping
        if mapping and (len(token) == 1 or not token.strip(NUCLEOTIDES)):
            return token.translate(mapping)
        return token

    @property
    def kmer_size(self) -> int | None:
        return int(self.encoding[0]) if self.encoding.endswith("mer") else None

    @property
    def center(self) -> str | None:
        """The centre token as it stands after replacement and mapping."""
        center = self.center_token
        if center is None or center in self.replacements.values():
            return center
        return self.replacements.get(center, self.mapped(center))


def check_settings(settings: TokenizerSettings) -> TokenizerSettings:
    """Return the settings unchanged.

    Raises:
        ConfigError: Two of them contradict each other.
    """
    specifier, separator = settings.specifier_separator, settings.token_separator
    if specifier and settings.encoding != "atomic":
        raise ConfigError(
            f"specifiersep '{specifier}' goes with encoding atomic only, not with "
            f"{settings.encoding}; leave it unset or set encoding: atomic"
        )
    if specifier and not separator:
        raise ConfigError(f"specifiersep '{specifier}' needs a tokensep, which is unset")
    if specifier and specifier == separator:
        raise ConfigError(f"tokensep and specifiersep are both '{separator}'; they must differ")
    if "" in settings.replacements:
        raise ConfigError("atomicreplacements replaces an empty token; name the token to replace")
    if settings.drop_markers and settings.center in ("e", "s", "x"):
        raise ConfigError(
            f"centertoken '{settings.center_token}' is a marker, and nomarkers drops all markers"
        )
    if settings.region != "whole" and settings.center == "e":
        raise ConfigError(
            f"centertoken '{settings.center_token}' marks the end of the CDS, which a run on "
            "the 3'UTR or on the rest alone cuts away"
        )
    markers = set() if settings.region == "whole" else {"e"}
    markers |= {"e", "s", "x"} if settings.drop_markers else set()
    lost = sorted(markers - set(settings.replacements.values()))
    if settings.letter_case == "upper" and lost:
        kept = ", ".join(f"{marker}: {marker}" for marker in lost)
        raise ConfigError(
            f"data.letter_case: upper makes letters of the markers {', '.join(lost)}, which "
            f"nomarkers, _3utr and non3utr look for; keep them by atomicreplacements: {{{kept}}}"
        )
    return settings
