"""What a tokenizer has to know besides its vocabulary."""

from typing import Literal

from pydantic import Field

from biolm_ray.config.schema import Section
from biolm_ray.errors import ConfigError

SPECIAL_TOKENS = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "[BOS]", "[EOS]")


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
    """

    encoding: str
    token_separator: str | None = None
    specifier_separator: str | None = None
    num_specifiers: int = 0
    replacements: dict[str, str] = Field(default_factory=dict)
    center_token: str | None = None
    drop_markers: bool = False
    region: Literal["whole", "utr3", "outside_utr3"] = "whole"

    @property
    def kmer_size(self) -> int | None:
        return int(self.encoding[0]) if self.encoding.endswith("mer") else None

    @property
    def center(self) -> str | None:
        """The centre token as it stands after replacement."""
        if self.center_token is None:
            return None
        return self.replacements.get(self.center_token, self.center_token)


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
    return settings
