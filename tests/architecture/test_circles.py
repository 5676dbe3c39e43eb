"""No module imports, by any detour, one that imports it."""

import grimp
import pytest

HOUSES = ("sagascope", "sagascope_collector", "sagascope_dashboard", "sagascope_samples")


@pytest.mark.parametrize("house", HOUSES)
def test_imports_go_in_no_circle(house: str) -> None:
    graph = grimp.build_graph(house)
    circles = [
        (module, chain)
        for module in sorted(graph.modules)
        for imported in graph.find_modules_directly_imported_by(module)
        if (chain := graph.find_shortest_chain(imported, module))
    ]
    assert circles == []
