"""No module imports, directly or not, a module that imports it."""

import grimp
import pytest

PACKAGES = ("sagascope", "sagascope_collector", "sagascope_dashboard", "sagascope_samples")


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_have_no_cycle(package: str) -> None:
    graph = grimp.build_graph(package)
    cycles = [
        (module, chain)
        for module in sorted(graph.modules)
        for imported in graph.find_modules_directly_imported_by(module)
        if (chain := graph.find_shortest_chain(imported, module))
    ]
    assert cycles == []
