"""What an error says of what is missing."""

from __future__ import annotations

import sys

import pytest

from hypernodes.errors import needs


@pytest.mark.parametrize(
    ("module", "package"),
    [("rich", "rich"), ("opentelemetry.trace", "opentelemetry-api"), ("graphviz", "graphviz")],
)
def test_a_missing_library_is_named_by_its_package(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = module.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == top]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(ImportError) as caught:
        needs(module, "extra", "a picture")
    assert f"a picture needs {module!r}: pip install {package} (" in str(caught.value)
    assert "hypernodes[" not in str(caught.value)


def test_what_is_there_is_not_missed() -> None:
    needs("pytest", "extra", "a test")
    needs("json.decoder", "extra", "a test")
