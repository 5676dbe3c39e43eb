"""The names that others rely on."""

import sagascope


def test_the_version_is_public() -> None:
    assert "__version__" in sagascope.__all__
