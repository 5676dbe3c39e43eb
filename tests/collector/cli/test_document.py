"""docs/cli.md says what the commands say of themselves."""

import inspect
from importlib import import_module

import pytest
import typer

from sagascope_collector.__main__ import COMMANDS
from support import documents


def test_the_document_has_every_command_s_help() -> None:
    parts = {name: documents.command_help(name) for name in documents.every_command()}
    documents.compare("cli.md", parts | {"sagascope": documents.command_help()})


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_line_in_the_list_is_the_command_s_own(name: str) -> None:
    function = getattr(import_module(COMMANDS[name].module), COMMANDS[name].function or name)
    if isinstance(function, typer.Typer):
        function = function.registered_callback.callback
    assert (inspect.getdoc(function) or "").splitlines()[0] == COMMANDS[name].summary
