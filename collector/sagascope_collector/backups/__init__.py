"""One file that holds a whole store: written while the store goes on, verified, and put back.

It is a tar archive, so that any system can look into it. Its last member lists all others with their sizes and
SHA-256 sums: an archive without it is cut off.
"""

from sagascope_collector.backups.reading import Contents, restore, verify
from sagascope_collector.backups.writing import archive, save

__all__ = ["Contents", "archive", "restore", "save", "verify"]
