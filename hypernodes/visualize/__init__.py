"""Pictures of pipelines."""

from hypernodes.visualize.mermaid import mermaid

__all__ = ["mermaid"]
