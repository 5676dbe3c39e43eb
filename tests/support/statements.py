"""All statements of the storage, by subject."""

from importlib.resources import files

from sagascope_collector.storage.connection import Statements, statements


def by_subject() -> dict[str, Statements]:
    """Returns the statements of each subject, by name."""
    found = files("sagascope_collector.storage").joinpath("sql").iterdir()
    subjects = sorted(each.name.removesuffix(".sql") for each in found if each.name.endswith(".sql"))
    return {subject: statements(subject) for subject in subjects}
