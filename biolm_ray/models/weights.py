"""Taking over weights that were trained with another head or another objective."""

from collections.abc import Iterable

from torch import Tensor, nn

from biolm_ray.errors import ConfigError


def take_matching(module: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Copy every weight that has the name and shape of one of the module's.

    Returns:
        The names that stay fresh.

    Raises:
        ConfigError: No weight matches.
    """
    own = module.state_dict()
    taken = {name: value for name, value in weights.items() if _fits(value, own.get(name))}
    if not taken:
        raise ConfigError(_no_match(weights, own))
    module.load_state_dict(taken, strict=False)
    return _fresh(module, taken)


def take_encoder(network: nn.Module, base: str, weights: dict[str, Tensor]) -> list[str]:
    """Copy the weights of a Hugging Face network of the same encoder, whatever its head.

    Args:
        network: The network that receives them.
        base: The name of its encoder, such as "transformer"; weights may stand with or without.
        weights: From a sequence or language-model head, ours or of a plain checkpoint.

    Returns:
        The names that stay fresh.

    Raises:
        ConfigError: No weight matches, or one of the encoder has another shape.
    """
    own = network.state_dict()
    taken = {}
    for given, value in weights.items():
        name = given.removeprefix("network.")
        if name not in own:
            name = f"{base}.{name}"
        if name not in own:
            continue
        if _fits(value, own[name]):
            taken[name] = value
        elif name.startswith(f"{base}."):
            raise ConfigError(
                f"pre-trained weight {name} has the shape {list(value.shape)}, this model needs "
                f"{list(own[name].shape)}; use the sizes, vocabulary and block size it was "
                "trained with, or fromscratch: true"
            )
    if not any(name.startswith(f"{base}.") for name in taken):
        raise ConfigError(_no_match(weights, own))
    network.load_state_dict(taken, strict=False)
    return _fresh(network, taken)


def _fits(value: Tensor, own: Tensor | None) -> bool:
    return own is not None and own.shape == value.shape


def _fresh(module: nn.Module, taken: Iterable[str]) -> list[str]:
    """Name the weights that were not taken over, neither themselves nor as one they share."""
    state = module.state_dict()
    filled = {state[name].data_ptr() for name in taken}
    return [name for name, value in state.items() if value.data_ptr() not in filled]


def _no_match(weights: Iterable[str], own: Iterable[str]) -> str:
    return (
        f"the pre-trained weights belong to another model: they begin with "
        f"'{next(iter(weights), 'nothing')}', this model's with '{next(iter(own))}'; name the "
        "model they were trained with, or set fromscratch: true"
    )
