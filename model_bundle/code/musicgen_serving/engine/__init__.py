"""The engine: MusicGen's decode loop over slots, continuously batched, token for token what transformers generates."""
