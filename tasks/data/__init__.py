"""Data craft: sources, filters, deduplication, held-out split, tokenizer, token shards."""
