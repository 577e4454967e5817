"""The results page of a run: one HTML file that explains itself, opens from disk and needs no
network.
"""

from place_cxr.page.write import write_page

__all__ = ["write_page"]
