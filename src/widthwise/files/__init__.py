"""Files that are whole or not there, and JSON documents that say what they are. Standard library alone."""

from widthwise.files.document import document, load_document, save_document
from widthwise.files.replacing import replace_text, replacing

__all__ = ["document", "load_document", "replace_text", "replacing", "save_document"]
