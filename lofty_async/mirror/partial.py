from .jsonl import partial_of, target_of

__all__ = ["partial_of", "target_of"]
