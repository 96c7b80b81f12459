"""Read models: what people and programs ask of the ledger. Reads only; every list is keyset-paged and bounded."""
