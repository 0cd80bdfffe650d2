"""Synthesis: generates related documents from seed documents, and filters them."""
